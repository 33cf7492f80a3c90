"""What every package's tests share: real servers, started once, and the real market data."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import settings

from tocsin.embedded import NatsServer, PostgresServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.config import NatsSection

settings.register_profile("tocsin", deadline=None)  # a busy machine is no failing property
settings.load_profile("tocsin")

ROOT = Path(__file__).parent
DATABASES = itertools.count(1)


PLAIN_LOGS = [
    *structlog.get_config()["processors"][:-1],
    structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
]
"""As they are unconfigured, but for tracebacks in colour: a deep one takes more than a second to draw."""


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Commands and services configure logging for their process; here it must not outlive the test."""
    structlog.configure(processors=PLAIN_LOGS)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real trades and candles. Where it is missing, tests that need it are skipped (in CI they fail)."""
    data = Path(os.environ.get("TOCSIN_SHARED", ROOT.parent / "shared")) / "data"
    if not data.is_dir():
        problem = f"no market data in {data}; set TOCSIN_SHARED"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    return data


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server, shared by the tests of a session; `jetstream_bus` gives it its streams."""
    server = NatsServer(tmp_path_factory.mktemp("servers"))
    asyncio.run(server.start())
    asyncio.run(_keep_a_stream(server.url))
    yield server.url
    asyncio.run(server.stop())


async def _keep_a_stream(url: str) -> None:
    """The server removes the folder of all streams some time after the last one is deleted, and then cannot make a new
    one that comes just then ("error creating store for stream")."""
    connection = await Connection.open(NatsSection(url=url), name="test")
    await connection.api("STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept"], "storage": "file"})
    await connection.close()


@pytest.fixture
async def jetstream_bus(nats_url: str) -> AsyncIterator[JetStreamBus]:
    """A connected bus on a server that has every declared stream, all of them empty."""
    bus = JetStreamBus(await Connection.open(NatsSection(url=nats_url), name="test"))
    everything = provision.declared()
    await provision.wipe(bus.connection, everything)
    await provision.apply(bus.connection, everything)
    yield bus
    await bus.close()


@pytest.fixture
def memory_bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture(scope="session")
def postgres_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server, shared by the tests of a session."""
    server = PostgresServer(tmp_path_factory.mktemp("servers"))
    asyncio.run(server.start())
    yield server.url
    asyncio.run(server.stop())


@pytest.fixture
async def postgres_url(postgres_server_url: str) -> AsyncIterator[str]:
    """The URL of an empty database of this test's own."""
    name = f"test_{next(DATABASES)}"
    admin = await asyncpg.connect(postgres_server_url)
    try:
        await admin.execute(f"create database {name}")
        yield f"{postgres_server_url.rpartition('/')[0]}/{name}"
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()
