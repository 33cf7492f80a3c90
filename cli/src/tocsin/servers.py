"""The two servers a command works with: those of a running `tocsin up`, embedded ones, or external ones by URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import structlog
from pydantic import SecretStr

from tocsin.datadir import Running
from tocsin.embedded import NatsServer, PostgresServer
from tocsin.options import Target
from tocsin.settings import Settings
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.errors import Unreachable

log = structlog.get_logger()

Embedded = NatsServer | PostgresServer
S = TypeVar("S", NatsServer, PostgresServer)
Name = Literal["nats", "postgres"]


@dataclass(frozen=True)
class Servers:
    """How to reach NATS and PostgreSQL. `embedded` are those this process runs, by name."""

    nats: NatsSection
    postgres_url: SecretStr
    embedded: dict[str, Embedded]


NATS: frozenset[Name] = frozenset({"nats"})
POSTGRES: frozenset[Name] = frozenset({"postgres"})
BOTH = NATS | POSTGRES

LOOK_S = 0.5
"""How often embedded servers are looked after."""

DIAL_S = 8.0
"""How long a command tries to reach NATS; somebody is waiting for its answer."""


@asynccontextmanager
async def servers(settings: Settings, data_dir: Path, need: frozenset[Name] = BOTH) -> AsyncIterator[Servers]:
    """Start what is needed and not given by URL, NATS first; stop it in reverse."""
    async with AsyncExitStack() as stack:
        embedded: dict[str, Embedded] = {}
        nats, postgres_url = settings.nats, settings.postgres.url
        if settings.nats_url is None and "nats" in need:
            server = await _started(stack, NatsServer(data_dir))
            embedded["nats"], nats = server, nats.model_copy(update={"url": server.url})
        if settings.postgres_url is None and "postgres" in need:
            database = await _started(stack, PostgresServer(data_dir))
            embedded["postgres"], postgres_url = database, SecretStr(database.url)
        yield Servers(nats, postgres_url, embedded)


@asynccontextmanager
async def join_or_start(target: Target, command: str, need: frozenset[Name] = BOTH) -> AsyncIterator[Servers]:
    """The servers for one short command: those running on the data directory, or its own for as long as it takes."""
    settings, _ = target.load()
    given = {"nats": settings.nats_url, "postgres": settings.postgres_url}
    running = target.data_dir.running()
    async with AsyncExitStack() as stack:
        if all(given[name] for name in need):
            yield await stack.enter_async_context(servers(settings, target.data_dir.path, need))
        elif running is not None and running.nats_url:
            yield _joined(settings, running)
        else:
            stack.enter_context(target.data_dir.hold(command))
            yield await stack.enter_async_context(servers(settings, target.data_dir.path, need))


@asynccontextmanager
async def bus_for(target: Target, command: str) -> AsyncIterator[JetStreamBus]:
    """A bus for one short command that needs nothing else."""
    async with join_or_start(target, command, NATS) as found, connected(found, command) as bus:
        yield bus


@asynccontextmanager
async def connected(found: Servers, command: str) -> AsyncIterator[JetStreamBus]:
    """A bus on the servers. Raises Unreachable."""
    bus = JetStreamBus(await Connection.open(found.nats, name=f"tocsin {command}", within_s=DIAL_S))
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def provisioned(found: Servers, command: str) -> AsyncIterator[JetStreamBus]:
    """A bus on the servers, after making them match the declared streams. Raises Unreachable."""
    async with dialled(found, command) as connection:
        await provision.apply(connection, provision.declared(found.nats.replicas))
    async with connected(found, command) as bus:
        yield bus


@asynccontextmanager
async def dialled(found: Servers, command: str) -> AsyncIterator[Connection]:
    """A bare connection, for a server that may have no streams yet. Raises Unreachable."""
    connection = await Connection.open(found.nats, name=f"tocsin {command}", within_s=DIAL_S)
    try:
        yield connection
    finally:
        await connection.close()


async def keep_running(embedded: Mapping[str, Embedded], on_change: Callable[[], None]) -> None:
    """Start embedded servers that died again, on their data and their port, for as long as this task runs."""
    while True:
        for name, server in embedded.items():
            if server.running:
                continue
            await server.stop()  # lets go of the folder, which a dead server still holds
            try:
                await server.start()
            except Unreachable as error:
                log.error("server does not start again", server=name, error=str(error))
            on_change()
        await asyncio.sleep(LOOK_S)


async def _started(stack: AsyncExitStack, server: S) -> S:
    """Start a server that is stopped with the stack, also when starting it is interrupted."""
    stack.push_async_callback(server.stop)
    await server.start()
    return server


def _joined(settings: Settings, running: Running) -> Servers:
    nats = settings.nats if settings.nats_url else settings.nats.model_copy(update={"url": running.nats_url})
    return Servers(nats, settings.postgres_url or SecretStr(running.postgres_url), {})
