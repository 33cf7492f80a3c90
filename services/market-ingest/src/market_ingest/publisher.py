"""Storing events and marks on the streams, no faster than the consumers of marks can follow."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import structlog

from market_ingest.candles import MINUTE_MS
from market_ingest.columns import Instrument
from market_ingest.config import MAX_LAG_MARKS
from market_ingest.ingest import Ingest
from market_ingest.marking import Marking
from market_ingest.metrics import IngestMetrics
from market_ingest.packed import largest
from market_ingest.partitions.merging import Report
from market_ingest.partitions.replica import Replica
from market_ingest.resume import Resumed
from tocsin_common.bus.consume import insist, pause
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.events import CandlesClosed, ClockAdvanced, Event, TradesReceived
from tocsin_common.streams import CLOCK, PAPER_TRADER
from tocsin_common.subjects import clock

log = structlog.get_logger()

LAG_LOOK_S = 0.02
LAG_LOG_S = 10.0


class Publisher:
    """Writes what the core gives, remembers the sequences, and marks the clock."""

    def __init__(
        self,
        bus: Bus,
        ingest: Ingest,
        resumed: Resumed,
        stop: asyncio.Event,
        metrics: IngestMetrics,
        *,
        live: bool = False,
        replica: Replica | None = None,
    ) -> None:
        self._bus = bus
        self._replica = replica
        self._ingest = ingest
        self._stop = stop
        self._live = live
        self._metrics = metrics
        self._trades_seq, self._candles_seq = resumed.trades_seq, resumed.candles_seq
        self._trades_backlog, self._candles_backlog = resumed.trades_backlog, resumed.candles_backlog
        self._unanswered: deque[ClockAdvanced] = deque(maxlen=MAX_LAG_MARKS)
        self._marking: Marking[ClockAdvanced | Report] = Marking(self._store_mark)

    async def store(self, events: Sequence[Event]) -> None:
        """Store events in order. Returns when the server has them all."""
        started_s = time.monotonic()
        stored = await self._publish(events)
        for event, receipt in stored:
            self.remember(event, receipt.seq)
        self._metrics.publishing.observe(time.monotonic() - started_s)
        self._metrics.published([event for event, _ in stored], live=self._live)

    def remember(self, event: Event, seq: int) -> None:
        """An event is on its stream: open candles may need it."""
        if isinstance(event, TradesReceived):
            self._trades_seq = max(self._trades_seq, seq)
            instrument = Instrument(event.exchange, event.symbol)
            self._trades_backlog.add(instrument, largest(event.ts_ms) // MINUTE_MS * MINUTE_MS, seq)
        elif isinstance(event, CandlesClosed):
            self._candles_seq = max(self._candles_seq, seq)
            self._candles_backlog.add(Instrument(event.exchange, event.symbol), event.open_ms[-1], seq)

    async def mark(self) -> None:
        """Tell the consumers how far the market has come; a live one goes on meanwhile."""
        progress = self._ingest.progress
        trades_from, candles_from = self._needed()
        mark = ClockAdvanced(
            stage="market",
            source=self._ingest.source_id,
            time_ms=progress.time_ms,
            trades_seq=self._trades_seq,
            candles_seq=self._candles_seq,
            cursor=progress.cursor,
            trades_from_seq=trades_from,
            candles_from_seq=candles_from,
            ended=progress.ended,
            totals=dict(progress.totals),
        )
        self._marking.note(mark if self._replica is None else self._replica.report_of(mark))
        if not self._live:
            await self._marking.finish()

    async def finish(self) -> None:
        """Wait for the mark that is on its way."""
        await self._marking.finish()

    async def wait_for_consumers(self, max_lag_marks: int) -> None:
        """Wait while a consumer of marks has more than `max_lag_marks` before it."""
        if not max_lag_marks or not await self._lagging(max_lag_marks):
            return
        self._metrics.lag_pauses.inc()
        logged_s = time.monotonic()
        while not await pause(self._stop, LAG_LOOK_S):
            lagging = await self._lagging(max_lag_marks)
            if not lagging:
                return
            if time.monotonic() - logged_s >= LAG_LOG_S:
                logged_s = time.monotonic()
                log.info("waiting for consumers of the clock", behind=lagging, max_lag_marks=max_lag_marks)

    async def _store_mark(self, mark: ClockAdvanced | Report) -> None:
        if isinstance(mark, ClockAdvanced):
            await self._publish([mark])
            self._unanswered.append(mark)
            self._metrics.marks.inc()
            self._metrics.clock.set(mark.time_ms / 1000)
        elif (replica := self._replica) is not None:
            await insist(self._stop, lambda: replica.report(mark), "tell how far the market has come")

    async def _lagging(self, max_lag_marks: int) -> dict[str, int]:
        paper = await self._bus.durable_state(PAPER_TRADER)
        behind = {"signal-engine": await self._count_unanswered(), "paper-trader": paper.pending + paper.ack_pending}
        return {name: marks for name, marks in behind.items() if marks > max_lag_marks}

    async def _count_unanswered(self) -> int:
        """How many of our marks no mark of stage `signals` covers."""
        found = await self._bus.last(CLOCK, clock("signals"))
        answer = found.event() if found else None
        while self._unanswered and isinstance(answer, ClockAdvanced) and answer.covers(self._unanswered[0]):
            self._unanswered.popleft()
        return len(self._unanswered)

    async def _publish(self, events: Sequence[Event]) -> list[tuple[Event, Stored]]:
        """Publish until it is done: the ids are derived, so a second try stores nothing twice. Of several replicas
        each stores what is its own."""

        async def publish() -> list[tuple[Event, Stored]]:
            if self._replica is not None:
                return await self._replica.store(events)
            return list(zip(events, await self._bus.publish(events), strict=True))

        return await insist(self._stop, publish, "publish")

    def _needed(self) -> tuple[int, int]:
        """The first sequences of TRADES and CANDLES that open candles are made of."""
        trades_from, candles_from = self._trades_seq + 1, self._candles_seq + 1
        clock_ms = self._ingest.progress.clock_ms
        for instrument, candles in self._ingest.builder.instruments.items():
            open_ms, since_ms = candles.levels[0].open_ms, candles.since_ms(clock_ms)
            if open_ms is not None:
                trades_from = min(trades_from, self._trades_backlog.oldest(instrument, open_ms) or trades_from)
            if since_ms is not None:
                candles_from = min(candles_from, self._candles_backlog.oldest(instrument, since_ms) or candles_from)
        return trades_from, candles_from
