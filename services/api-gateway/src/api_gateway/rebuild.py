"""Drop the projections, replay the streams, compare: proof that PostgreSQL holds nothing of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog

from api_gateway import migrations
from api_gateway.postgres import PROJECTOR_LOCK, connect, errors_of_ours, open_pool
from api_gateway.projections import PROJECTIONS
from api_gateway.schema import TABLES, TableDigest, digests
from api_gateway.stream_projector import chunks, rows_in
from api_gateway.writer import Advance, commit
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Received, StreamState
from tocsin_common.errors import Malformed, Rejected, TocsinError
from tocsin_common.streams import PROJECTED, Stream

log = structlog.get_logger()

MESSAGES_PER_STEP = 256

Progress = Callable[[str, int, int], None]
"""Called with a stream's name, the sequence reached and the one to reach."""


@dataclass(frozen=True)
class TableComparison:
    """One table before and after."""

    before: TableDigest
    after: TableDigest

    @property
    def equal(self) -> bool:
        return self.before == self.after


@dataclass
class RebuildReport:
    """`tables` by name; `messages` read and `skipped` (malformed or refused: their dead letters exist) by stream."""

    tables: dict[str, TableComparison] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables.values())


async def rebuild(bus: Bus, dsn: str, *, progress: Progress, allow_loss: bool = False) -> RebuildReport:
    """Empty every projection and replay every stream up to its present end; returns what was equal.

    Raises TocsinError when a projector runs, when migrations are pending, or when a stream has lost messages to its
    age limit, whose rows could not come back (`allow_loss` accepts that). An interrupted rebuild leaves a
    beginning that the gateway, or another rebuild, completes.
    """
    states = {stream.name: await bus.stream_state(stream) for stream in PROJECTED}
    if not allow_loss:
        _refuse_loss(states)
    lock = await connect(dsn)
    pool = await open_pool(dsn, size=1, statement_timeout_ms=0)
    try:
        with errors_of_ours():
            await _take_lock(lock)
            before = await digests(lock, wall_clock=True)
            await _empty(lock, states)
            report = RebuildReport()
            for stream in PROJECTED:
                await _replay(bus, pool, stream, states[stream.name], report, progress)
            after = await digests(lock, wall_clock=True)
    finally:
        await pool.close()
        await lock.close()
    report.tables = {name: TableComparison(before[name], after[name]) for name in before}
    return report


def _refuse_loss(states: dict[str, StreamState]) -> None:
    cut = [f"{name} begins at sequence {state.first_seq}" for name, state in states.items() if state.first_seq > 1]
    if cut:
        raise TocsinError(
            f"{'; '.join(cut)}: older messages have expired, and their rows in PostgreSQL could not be rebuilt. "
            "Nothing was changed."
        )


async def _take_lock(conn: asyncpg.Connection) -> None:
    if todo := await migrations.pending_on(conn):
        raise TocsinError(f"migrations are pending ({', '.join(todo)}); run: tocsin migrate")
    if not await conn.fetchval("select pg_try_advisory_lock($1)", PROJECTOR_LOCK):
        raise TocsinError("an api-gateway is projecting into this database: stop it, then rebuild.")


async def _empty(conn: asyncpg.Connection, states: dict[str, StreamState]) -> None:
    async with conn.transaction():
        await conn.execute(f"truncate {', '.join(table.name for table in TABLES)}, projection_offsets")
        await conn.executemany(
            "insert into projection_offsets (stream, identity, seq) values ($1, $2, 0)",
            [(name, state.identity) for name, state in states.items()],
        )


async def _replay(
    bus: Bus, pool: asyncpg.Pool, stream: Stream, state: StreamState, report: RebuildReport, progress: Progress
) -> None:
    """Project one stream up to where it ended when the rebuild began."""
    name, position, read, written = stream.name, 0, 0, 0
    reader = bus.reader(stream, after=0)
    try:
        for step in range(max(state.first_seq - 1, 0), state.last_seq, MESSAGES_PER_STEP):
            upto = min(step + MESSAGES_PER_STEP, state.last_seq)
            messages = await reader.through(upto)
            read += len(messages)
            for chunk in chunks(_decoded(messages), weight=lambda item: rows_in(item.event)):
                for part in await _commit(pool, state.identity, position, chunk):
                    position, written = part[-1].message.seq, written + len(part)
            progress(name, upto, state.last_seq)
    finally:
        await reader.close()
    report.messages[name], report.skipped[name] = read, read - written


async def _commit(pool: asyncpg.Pool, identity: str, position: int, chunk: list[Incoming]) -> list[list[Incoming]]:
    """Commit a chunk, message by message if it is refused as a whole; returns the parts that were written."""
    first = chunk[0].message
    try:
        writes = PROJECTIONS[first.stream]([item.event for item in chunk])
        if not await commit(pool, Advance(first.stream, identity, position, chunk[-1].message.seq), writes):
            raise TocsinError(f"somebody else moved the offset of {first.stream} during the rebuild: run it again.")
    except Rejected as error:
        if len(chunk) == 1:
            log.info("skipped", stream=first.stream, seq=first.seq, error=str(error))
            return []
        parts = []
        for item in chunk:
            done = await _commit(pool, identity, position, [item])
            parts += done
            position = item.message.seq if done else position
        return parts
    return [chunk]


def _decoded(messages: Sequence[Received]) -> list[Incoming]:
    found = []
    for message in messages:
        try:
            found.append(Incoming(message.event(), message))
        except Malformed as error:
            log.info("skipped", stream=message.stream, seq=message.seq, error=str(error))
    return found
