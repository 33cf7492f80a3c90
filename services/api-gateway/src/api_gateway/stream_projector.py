"""One stream into PostgreSQL: rows and offset in one transaction.

PostgreSQL's offset decides where a stream continues; the durable's acknowledgements only follow it. The offset moves
by compare-and-set, so whatever else happened to it (a rebuild, a restored backup, our own commit whose answer was
lost) is noticed before anything is written, and the stream is read again from where PostgreSQL stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import asyncpg
import structlog

from api_gateway.metrics import Metrics
from api_gateway.postgres import ACQUIRE_TIMEOUT_S, errors_of_ours
from api_gateway.projections import PROJECTIONS
from api_gateway.writer import Advance, commit
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Consumer
from tocsin_common.errors import Retryable, TocsinError
from tocsin_common.events import AnyEvent, CandlesClosed, Event
from tocsin_common.streams import Stream

log = structlog.get_logger()

MAX_ROWS_PER_COMMIT = 50_000


class StreamProjector:
    """Projects one stream. `position` is the last sequence known to be in PostgreSQL."""

    def __init__(self, bus: Bus, consumer: Consumer, pool: asyncpg.Pool, stream: Stream, metrics: Metrics) -> None:
        self.stream = stream
        self.position = 0
        self.problem: str | None = None
        self._identity = ""
        self._bus, self._consumer, self._pool, self._metrics = bus, consumer, pool, metrics

    async def synchronise(self) -> None:
        """Find where PostgreSQL stands and make the consumer continue there.

        A stream that was made anew, or that ends before PostgreSQL's offset (an older copy was restored), is projected
        from its beginning: the rows are upserts. Raises Retryable or Unreachable.
        """
        state = await self._bus.stream_state(self.stream)
        with errors_of_ours():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
                row = await conn.fetchrow(
                    "select identity, seq from projection_offsets where stream = $1", self.stream.name
                )
                known = row is not None and row["identity"] == state.identity and row["seq"] <= state.last_seq
                if not known:
                    await conn.execute(
                        "insert into projection_offsets (stream, identity, seq) values ($1, $2, 0) "
                        "on conflict (stream) do update set identity = excluded.identity, seq = 0",
                        self.stream.name,
                        state.identity,
                    )
        if row is not None and not known:
            log.warning(
                "projecting from the beginning: the stream is not the one projected before; rows that only the old "
                "one had stay until `tocsin rebuild`",
                stream=self.stream.name,
                offset=row["seq"],
                last_seq=state.last_seq,
            )
        self._identity, self.position = state.identity, row["seq"] if row is not None and known else 0
        await self._consumer.reset(after=self.position)

    async def handle(self, incoming: Sequence[Incoming]) -> Sequence[Event]:
        """Project a batch; what PostgreSQL has already is passed over. Raises Retryable while PostgreSQL is away."""
        try:
            await self._project(incoming)
        except TocsinError as error:
            self.problem = f"{self.stream.name}: {error}" if isinstance(error, Retryable) else None
            raise
        self.problem = None
        return []

    async def _project(self, incoming: Sequence[Incoming]) -> None:
        fresh = [item for item in incoming if item.message.seq > self.position]
        if len(fresh) < len(incoming) and await self._is_another_stream():
            return await self._rewind()
        for chunk in chunks(fresh, weight=lambda item: rows_in(item.event)):
            if not await self._commit(chunk):
                return await self._rewind()
        return None

    async def _commit(self, chunk: Sequence[Incoming]) -> bool:
        writes = PROJECTIONS[self.stream.name]([item.event for item in chunk])
        advance = Advance(self.stream.name, self._identity, self.position, chunk[-1].message.seq)
        started = time.perf_counter()
        try:
            moved = await commit(self._pool, advance, writes)
        except Retryable:  # after a server restart every pooled connection fails once
            moved = await commit(self._pool, advance, writes)
        if moved:
            self.position = advance.seq
            self._metrics.commit_s.labels(self.stream.name).observe(time.perf_counter() - started)
            self._metrics.batches.labels(self.stream.name).inc()
            for write in writes:
                self._metrics.rows.labels(write.table.name).inc(len(write))
        return moved

    async def _is_another_stream(self) -> bool:
        """Sequences seen before are a redelivery, or a stream that was made anew and counts from 1 again."""
        return (await self._bus.stream_state(self.stream)).identity != self._identity

    async def _rewind(self) -> None:
        expected = self.position
        await self.synchronise()
        self._metrics.rewinds.labels(self.stream.name).inc()
        log.info("offset moved", stream=self.stream.name, expected=expected, found=self.position)

    async def measure_lag(self) -> None:
        state = await self._bus.stream_state(self.stream)
        self._metrics.lag.labels(self.stream.name).set(max(0, state.last_seq - self.position))


def chunks(items: Sequence[Incoming], weight: Callable[[Incoming], int]) -> Iterator[list[Incoming]]:
    """Cut a batch so that no part holds more than MAX_ROWS_PER_COMMIT rows (or it is one message)."""
    chunk: list[Incoming] = []
    rows = 0
    for item in items:
        if chunk and rows + weight(item) > MAX_ROWS_PER_COMMIT:
            yield chunk
            chunk, rows = [], 0
        chunk.append(item)
        rows += weight(item)
    if chunk:
        yield chunk


def rows_in(event: AnyEvent) -> int:
    return len(event.open_ms) if isinstance(event, CandlesClosed) else 1
