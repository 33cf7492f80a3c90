"""The health server: live, ready, measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from tocsin_common import health
from tocsin_common.errors import ConfigError
from tocsin_common.health import Health


@asynccontextmanager
async def serving(checks: Health) -> AsyncIterator[Any]:
    runner, port = await health.serve(checks, "127.0.0.1", 0)

    async def get(path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    try:
        yield get
    finally:
        await runner.cleanup()


async def well() -> None:
    return None


async def ill() -> str:
    return "not connected"


async def broken() -> str:
    raise RuntimeError("boom")


async def silent() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_ready_when_every_check_is_well() -> None:
    async with serving(Health(CollectorRegistry(), {"nats": well})) as get:
        assert (await get("/livez"))[0] == 200
        status, body = await get("/readyz")
    assert (status, body) == (200, '{"status": "ok", "checks": ["nats"], "problems": {}}')


async def test_not_ready_names_every_problem_but_stays_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_S", 0.05)
    checks = Health(CollectorRegistry(), {"a": well, "b": ill, "c": broken, "d": silent})
    async with serving(checks) as get:
        status, body = await get("/readyz")
        assert (await get("/livez"))[0] == 200
    assert status == 503
    assert '"b": "not connected", "c": "RuntimeError: boom", "d": "no answer within 0.05 s"' in body
    assert '"a"' not in body.split("problems")[1]


async def test_metrics_come_from_the_injected_registry() -> None:
    registry = CollectorRegistry()
    Counter("tocsin_things", "Things.", registry=registry).inc(3)
    async with serving(Health(registry)) as get:
        status, body = await get("/metrics")
    assert status == 200
    assert "tocsin_things_total 3.0" in body


async def test_a_port_that_is_taken_is_a_mistake_of_the_configuration() -> None:
    runner, port = await health.serve(Health(CollectorRegistry()), "127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            await health.serve(Health(CollectorRegistry()), "127.0.0.1", port)
    finally:
        await runner.cleanup()
