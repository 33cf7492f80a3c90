"""Embedded servers are looked after like services, and short commands find the ones that run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from tocsin import ports
from tocsin.datadir import HeldByAnother
from tocsin.embedded import NatsServer
from tocsin.options import Target, target
from tocsin.ports import CHOICE, free_port
from tocsin.servers import NATS, dialled, join_or_start, keep_running
from tocsin.settings import DEMO_CONFIG
from tocsin.system import choose_api_port

PATIENCE_S = 15.0


@pytest.fixture
def where(tmp_path: Path) -> Target:
    return target(tmp_path, DEMO_CONFIG)


async def test_a_server_that_died_comes_back_at_its_address(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        url, back = server.url, asyncio.Event()
        keeping = asyncio.create_task(keep_running({"nats": server}, back.set))
        first = server.pid
        await server.kill()
        async with asyncio.timeout(PATIENCE_S):
            await back.wait()
        keeping.cancel()
        assert server.running
        assert server.url == url
        assert server.pid != first


async def test_a_short_command_joins_the_servers_that_run(where: Target) -> None:
    with where.data_dir.hold("up") as running:
        async with NatsServer(where.data_dir.path) as server:
            where.data_dir.describe(
                msgspec.structs.replace(running, nats_url=server.url, postgres_url="postgresql://x")
            )
            async with join_or_start(where, "audit", NATS) as found, dialled(found, "audit") as connection:
                assert found.nats.url == server.url
                assert found.embedded == {}
                assert connection.server_version >= (2, 12, 0)


async def test_a_short_command_does_not_disturb_a_system_that_is_starting(where: Target) -> None:
    with where.data_dir.hold("up"), pytest.raises(HeldByAnother):
        async with join_or_start(where, "audit", NATS):
            pass


async def test_a_short_command_starts_servers_for_itself_alone(where: Target) -> None:
    async with join_or_start(where, "streams show", NATS) as found:
        assert list(found.embedded) == ["nats"]
        server = found.embedded["nats"]
        assert server.running
    assert not server.running
    assert where.data_dir.running() is None


def test_a_configured_api_port_is_kept(tmp_path: Path) -> None:
    port = free_port()
    assert choose_api_port(target(tmp_path, DEMO_CONFIG, overrides={"api_gateway.port": str(port)})) == port
    assert choose_api_port(target(tmp_path, DEMO_CONFIG, overrides={"api_gateway.port": "0"})) in CHOICE
    assert choose_api_port(target(tmp_path, DEMO_CONFIG)) > 0


def test_no_port_is_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that starts after another was promised the same port would find it taken."""
    monkeypatch.setattr(ports, "CHOICE", CHOICE[-60:])
    given = [free_port() for _ in range(30)]
    assert len(set(given)) == len(given)
