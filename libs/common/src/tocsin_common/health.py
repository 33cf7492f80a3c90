"""`/livez`, `/readyz` and `/metrics` of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tocsin_common.errors import ConfigError

CHECK_S = 2.0
"""How long a check may take, all of them side by side: probes give up after a few seconds themselves."""

SHUTDOWN_S = 1.0

Check = Callable[[], Awaitable[str | None]]
"""Returns None when healthy, otherwise a sentence that says what is wrong."""


@dataclass
class Health:
    """What readiness consists of: named checks, all asked on every request. Live means: the event loop answers."""

    registry: CollectorRegistry
    checks: dict[str, Check] = field(default_factory=dict)

    async def problems(self) -> dict[str, str]:
        """The checks that fail, each with its sentence."""
        names, checks = list(self.checks), self.checks.values()
        answers = await asyncio.gather(*(_ask(check) for check in checks))
        return {name: problem for name, problem in zip(names, answers, strict=True) if problem}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = await self.problems()
        body = {"status": "not ready" if problems else "ok", "checks": sorted(self.checks), "problems": problems}
        return web.json_response(body, status=503 if problems else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _ask(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def serve(health: Health, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start the server; returns its runner (for cleanup) and the port it got. Raises ConfigError: it is taken."""
    runner = web.AppRunner(health.app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            [f"health: cannot listen on {host}:{port} ({error.strerror}); choose another port."]
        ) from error
    return runner, runner.addresses[0][1]
