"""The projector: all projected streams into PostgreSQL, by one process at a time.

It waits until the migrations are applied, then for the projector's advisory lock, so that of several gateways one
projects and the others stand by, and a rebuild has PostgreSQL to itself.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import asyncpg
import structlog

from api_gateway import migrations
from api_gateway.metrics import Metrics
from api_gateway.postgres import PROJECTOR_LOCK, connect, errors_of_ours
from api_gateway.stream_projector import StreamProjector
from tocsin_common.bus.consume import Loop, consume_in_order, pause
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Retryable, TocsinError, Unreachable
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import PROJECTED, PROJECTOR, Stream

log = structlog.get_logger()

SERVICE = "api-gateway"
RETRY_S = 1.0
LOCK_CHECK_S = 2.0
LAG_EVERY_S = 5.0

State = Literal["starting", "waiting", "standby", "running", "stopped"]


class Projector:
    """Runs the stream projectors while it holds the lock; `state` and `problem` say how it stands."""

    def __init__(
        self, bus: Bus, dsn: str, pool: asyncpg.Pool, metrics: Metrics, bus_metrics: BusMetrics, *, batch: int
    ) -> None:
        self.state: State = "starting"
        self._problem: str | None = None
        self._bus, self._dsn, self._pool, self._batch = bus, dsn, pool, batch
        self._metrics, self._bus_metrics = metrics, bus_metrics
        self._streams: list[StreamProjector] = []

    async def problem(self) -> str | None:
        """Why nothing is projected, or None. Standing by for another gateway is no problem."""
        return self._problem or next((found for one in self._streams if (found := one.problem)), None)

    def positions(self) -> dict[str, int]:
        """Last sequence projected by this process, by stream; empty while it does not project."""
        return {one.stream.name: one.position for one in self._streams}

    async def run(self, stop: asyncio.Event) -> None:
        """Project until `stop`; whatever is in hand then is finished."""
        while not stop.is_set():
            try:
                await self._session(stop)
            except (Retryable, Unreachable, migrations.MigrationError) as error:
                self._note("waiting", str(error))
            await pause(stop, RETRY_S)
        self.state = "stopped"

    async def _session(self, stop: asyncio.Event) -> None:
        """From taking the lock to losing it. Returns at once when the lock or the schema is not to be had."""
        conn = await connect(self._dsn)
        try:
            with errors_of_ours():
                if todo := await migrations.pending_on(conn):
                    return self._note("waiting", f"migrations are pending ({', '.join(todo)}); run: tocsin migrate")
                if not await conn.fetchval("select pg_try_advisory_lock($1)", PROJECTOR_LOCK):
                    return self._note("standby", None)
            self._note("running", None)
            await self._project_all(conn, stop)
        finally:
            self._metrics.active.set(0)
            self._streams = []
            await _close(conn)
        return None

    async def _project_all(self, conn: asyncpg.Connection, stop: asyncio.Event) -> None:
        self._metrics.active.set(1)
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for stream in PROJECTED:
                tasks.create_task(self._project(stream, ended))
            tasks.create_task(self._measure_lag(ended))
            await _until_lost(conn, stop)
            ended.set()

    async def _project(self, stream: Stream, ended: asyncio.Event) -> None:
        durable = PROJECTOR[stream.name]
        consumer = self._bus.consumer(durable)
        projector = StreamProjector(self._bus, consumer, self._pool, stream, self._metrics)
        self._streams.append(projector)
        loop = Loop(self._bus, consumer, SERVICE, ended, self._bus_metrics.loop(durable.name))
        try:
            await _synchronise(projector, ended)
            await consume_in_order(loop, projector.handle, batch=self._batch)
        finally:
            await consumer.close()

    async def _measure_lag(self, ended: asyncio.Event) -> None:
        while not await pause(ended, LAG_EVERY_S):
            for one in list(self._streams):
                try:
                    await one.measure_lag()
                except Unreachable as error:
                    log.warning("lag is unknown", stream=one.stream.name, error=str(error))

    def _note(self, state: State, problem: str | None) -> None:
        """Remember how it stands; said in the log once, when it changes."""
        if (state, problem) != (self.state, self._problem):
            if problem:
                log.warning("projector", state=state, problem=problem)
            else:
                log.info("projector", state=state)
        self.state, self._problem = state, problem


async def _synchronise(projector: StreamProjector, ended: asyncio.Event) -> None:
    """Find the offset, however long a server is away; returns early when the session ended."""
    while not ended.is_set():
        try:
            return await projector.synchronise()
        except (Retryable, Unreachable) as error:
            projector.problem = f"{projector.stream.name}: {error}"
            await pause(ended, RETRY_S)
    return None


async def _until_lost(conn: asyncpg.Connection, stop: asyncio.Event) -> None:
    """Returns on `stop`, or when the connection that holds the lock is gone (and the lock with it)."""
    while not await pause(stop, LOCK_CHECK_S):
        try:
            with errors_of_ours():
                await conn.fetchval("select 1", timeout=LOCK_CHECK_S)
        except TocsinError as error:
            log.warning("lost the projector's lock", error=str(error))
            return


async def _close(conn: asyncpg.Connection) -> None:
    """Close politely, or drop the connection when the server does not answer."""
    try:
        with errors_of_ours():
            await conn.close(timeout=LOCK_CHECK_S)
    except TocsinError:
        conn.terminate()
