"""Real servers for one benchmark, with every stream declared and empty."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tocsin.embedded import NatsServer, PostgresServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """A folder that PostgreSQL may use also when it runs as another user."""
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        os.chmod(name, 0o755)  # noqa: PTH101  # nothing secret is in there
        yield Path(name)


@asynccontextmanager
async def bus_on_fresh_nats() -> AsyncIterator[JetStreamBus]:
    async with scratch() as folder:
        server = NatsServer(folder)
        await server.start()
        try:
            bus = JetStreamBus(await Connection.open(NatsSection(url=server.url), name="bench"))
            await provision.apply(bus.connection, provision.declared())
            yield bus
            await bus.close()
        finally:
            await server.stop()


@asynccontextmanager
async def fresh_postgres() -> AsyncIterator[str]:
    """The URL of an empty database."""
    async with scratch() as folder:
        server = PostgresServer(folder)
        await server.start()
        try:
            yield server.url
        finally:
            await server.stop()
