"""From a source to the streams: resume, then chunk by chunk handle, store, mark."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from operator import itemgetter

import structlog

from market_ingest.candles import CandleBuilder
from market_ingest.columns import Instrument
from market_ingest.config import IngestSection
from market_ingest.ingest import Ingest
from market_ingest.metrics import IngestMetrics
from market_ingest.partitions.replica import Replica
from market_ingest.publisher import Publisher
from market_ingest.rebuilding import Rebuilt, rebuild
from market_ingest.resume import Resumed, last_trades, resume, resume_empty
from market_ingest.sources.chunk import Chunk, Source
from market_ingest.sources.replay import CHUNK_ROWS
from market_ingest.validate import BurstLog
from tocsin_common import tracing
from tocsin_common.bus.consume import insist
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import TradesReceived

log = structlog.get_logger()

MARK_S = 1.0
"""A mark is due at least this often, even if nothing closed."""


async def run(
    source: Source,
    bus: Bus,
    settings: IngestSection,
    stop: asyncio.Event,
    metrics: IngestMetrics,
    replica: Replica | None = None,
) -> None:
    """Bring a source onto the streams until it ends or `stop` is set; goes on where the streams end.

    `replica`: one of several, which share the source's instruments.
    """
    builder = CandleBuilder(
        gap_ms=settings.gap_ms,
        grace_ms=settings.grace_ms,
        flats_by_clock=source.live,
        timeframes=settings.timeframes,
    )
    resumed = await (resume(bus, source, builder) if replica is None else resume_empty(bus, source))
    if resumed.progress.ended:
        log.info("this source has been read to its end before", source=source.source_id)
        return
    settle_ms = settings.grace_ms if source.live else 0
    pipeline = _Pipeline(
        source=source,
        ingest=Ingest(source.source_id, builder, resumed.progress, settle_ms=settle_ms, live=source.live),
        bus=bus,
        resumed=resumed,
        settings=settings,
        stop=stop,
        metrics=metrics,
        replica=replica,
    )
    await pipeline.run(resumed)


class _Pipeline:
    def __init__(
        self,
        *,
        source: Source,
        ingest: Ingest,
        bus: Bus,
        resumed: Resumed,
        settings: IngestSection,
        stop: asyncio.Event,
        metrics: IngestMetrics,
        replica: Replica | None,
    ) -> None:
        self._source = source
        self._bus = bus
        self._ingest = ingest
        self._replica = replica
        self._publisher = Publisher(bus, ingest, resumed, stop, metrics, live=source.live, replica=replica)
        self._max_lag_marks = 0 if source.live else settings.max_lag_marks
        self._stop = stop
        self._metrics = metrics
        self._bursts = BurstLog()
        self._marked_s = time.monotonic()
        self._rows_since_mark = 0

    async def run(self, resumed: Resumed) -> None:
        self._source.remember([*resumed.recent, *resumed.unclosed])
        unclosed = resumed.unclosed if self._source.live else []
        await self._publisher.store(self._ingest.take_stored(unclosed, resumed.closed))
        if self._source.live:
            self._interrupt_all()
        try:
            async for chunk in self._source.chunks(resumed.progress.cursor):
                await self._take(chunk)
                if self._stop.is_set() or chunk.ended:
                    break
        finally:
            await self._publisher.finish()
        log.info("source stopped", ended=self._ingest.progress.ended, **self._ingest.progress.totals)

    async def _take(self, chunk: Chunk) -> None:
        tracing.begin()  # a chunk's trades, candles and mark belong together, and so does what comes of them
        late = self._ingest.progress.totals["trades_late"]
        closed = self._ingest.progress.totals["candles_closed"]
        events = self._ingest.handle(chunk, time.time_ns() // 1_000_000)
        if events:
            await self._publisher.store(events)
        if chunk.added:
            self._source.remember(await self._begin(chunk.added))
        self._count(chunk, self._ingest.progress.totals["trades_late"] - late)
        self._rows_since_mark += chunk.traded
        something_closed = self._ingest.progress.totals["candles_closed"] > closed
        due = something_closed or self._mark_is_due()
        if chunk.ended or (due and not self._ingest.progress.catching_up):
            await self._publisher.mark()
            self._marked_s, self._rows_since_mark = time.monotonic(), 0
            await self._publisher.wait_for_consumers(self._max_lag_marks)

    async def _begin(self, added: Sequence[Instrument]) -> list[TradesReceived]:
        """Take instruments of a running source up, in the middle of a candle where the streams say so. What happened
        since their last stored trades, which are returned, is not known."""
        builder = self._ingest.builder
        ours = added if self._replica is None else self._replica.begin(added)
        known = [instrument for instrument in ours if instrument in builder.instruments]
        unknown = [instrument for instrument in ours if instrument not in builder.instruments]

        async def read() -> tuple[Rebuilt, list[TradesReceived]]:
            for instrument in unknown:
                builder.drop(instrument)  # what an attempt that failed has made of it
            return await rebuild(self._bus, builder, unknown), await last_trades(self._bus, known)

        rebuilt, recent = await insist(self._stop, read, "read what is stored of the instruments taken up")
        for event, seq in sorted((*rebuilt.trades, *rebuilt.candles), key=itemgetter(1)):
            self._publisher.remember(event, seq)
        await self._publisher.store(self._ingest.take_stored([], rebuilt.closed))
        for instrument in ours:
            builder.interrupt(*instrument)
        return [*(event for event, _ in rebuilt.trades), *recent]

    def _interrupt_all(self) -> None:
        """What happened since a live source stopped is not known: nothing closes by the clock until it is."""
        for instrument in list(self._ingest.builder.instruments):
            self._ingest.builder.interrupt(*instrument)

    def _mark_is_due(self) -> bool:
        return time.monotonic() - self._marked_s >= MARK_S or self._rows_since_mark >= CHUNK_ROWS

    def _count(self, chunk: Chunk, late: int) -> None:
        self._metrics.late.inc(late)
        self._metrics.duplicates.inc(chunk.duplicates)
        for kind, reasons in (("trades", chunk.trades_rejected), ("candles", chunk.candles_rejected)):
            self._metrics.rejected(kind, reasons)
            for reason, rows in reasons.items():
                self._bursts.rejected(reason, rows, kind=kind, source=self._source.source_id)
