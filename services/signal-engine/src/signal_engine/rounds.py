"""The edge to the bus: from mark to mark, candles are read and evaluated, and their signals published.

What a round yields does not depend on how marks were batched. After a crash at any point the engine finds its own
last mark, warms up on the candles before it, does again what follows, and skips the signals already stored: none is
lost and none is there twice, also when the server no longer remembers their ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import msgspec
import structlog

from signal_engine.engine import Engine
from signal_engine.metrics import Metrics
from signal_engine.snapshots import Snapshots
from signal_engine.windows import Candles, Series
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Reader, Received
from tocsin_common.errors import Malformed, Rejected, TocsinError
from tocsin_common.events import CandlesClosed, ClockAdvanced, DeadLetter, Event
from tocsin_common.streams import CANDLES, CLOCK, SIGNALS, SNAPSHOTS
from tocsin_common.subjects import clock

log = structlog.get_logger()

SERVICE = "signal-engine"

MARKS_PER_ROUND = 8
"""Marks fetched at a time. A replay's mark stands for up to 20,000 candles: a round stays at a few seconds, and
whoever waits for its mark is not kept waiting long."""

SNAPSHOT_MESSAGES = 20_000
"""Messages of candles between two snapshots: about what a restart reads in a few seconds."""

WARM_UP_STEP = 5_000
"""Messages read at a time while warming up."""

LIVE_WITHIN_MS = 60_000
"""A mark this close to our clock is live; latency is measured for live marks only."""

DEAD_LETTER_ERROR_CHARS = 2_000


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Rounds:
    """Handles marks of market time for one engine. Call `resume` once before the first `handle`."""

    def __init__(
        self,
        bus: Bus,
        engine: Engine,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = wall_clock_ms,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
    ) -> None:
        self._bus = bus
        self._engine = engine
        self._metrics = metrics
        self._now_ms = now_ms
        self._snapshot_messages = snapshot_messages
        self._reader: Reader
        self._snapshots: Snapshots
        self._unsaved = 0
        self._saving: asyncio.Task[None] | None = None
        self._between_rounds = False
        self._last: ClockAdvanced | None = None
        self._signals_seq = 0
        self._outbox: list[Event] = []
        self._stored: dict[str, int] = {}
        self._unsure = True
        self._resumed = False

    async def problem(self) -> str | None:
        """Readiness: a sentence while warming up."""
        return None if self._resumed else "warming up on stored candles"

    async def resume(self) -> None:
        """Find where the last run ended and warm up on the candles before that."""
        started = time.monotonic()
        found = await self._bus.last(CLOCK, clock("signals"))
        if found is not None:
            self._last = cast("ClockAdvanced", found.event())
            self._signals_seq = self._last.signals_seq
        candles = await self._bus.stream_state(CANDLES)
        through = min(self._last.candles_seq, candles.last_seq) if self._last else 0
        self._snapshots = Snapshots(
            self._bus.bucket(SNAPSHOTS),
            identity=candles.identity,
            timeframes=self._engine.timeframes,
            warm_up_candles=self._engine.evaluation.warm_up_candles,
        )
        position = await self._restore(max(candles.first_seq - 1, 0), through)
        self._reader = self._bus.reader(CANDLES, after=position)
        while position < through:
            position = min(position + WARM_UP_STEP, through)
            self._engine.add(self._decoded(await self._reader.through(position)), warm_up=True)
        self._engine.resume(self._last.time_ms if self._last else 0)
        self._outbox.clear()  # dead letters of that stretch were written when it was read first
        self._metrics.collect(self._engine)
        await self._look_what_is_stored()
        self._resumed = self._between_rounds = True
        log.info("resumed", candles_seq=through, signals_seq=self._signals_seq, seconds=time.monotonic() - started)

    async def _restore(self, oldest: int, through: int) -> int:
        """Fill the windows from a snapshot that fits; returns the sequence after which candles are to be read."""
        snapshot = await self._snapshots.load(at_most=through)
        if snapshot is None:
            return oldest
        position, windows = snapshot
        for series, candles in windows:
            self._engine.windows.restore(series, candles)
        return max(position, oldest)

    async def handle(self, batch: Sequence[Incoming]) -> Sequence[Event]:
        """One round over a batch of marks; returns the newest of them as a mark of stage `signals`.

        Marks an earlier round covered (they come again after a crash) move nothing: the last mark is repeated.
        """
        marks = [mark for item in batch if not self._covers(mark := _mark(item))]
        if marks:
            with self._metrics.round_s.time():
                await self._round(marks)
        return [self._last] if self._last else []

    async def _round(self, marks: Sequence[ClockAdvanced]) -> None:
        """Whatever fails on the way, the same call again goes on: what was read and found is kept until it is out.

        Signals are stored mark by mark: so their order on the stream does not depend on batches either, and those
        of the marks handled so far always are the first ones, which is what `_look_what_is_stored` relies on.
        """
        self._between_rounds = False
        for mark in marks:
            messages = await self._reader.through(mark.candles_seq)
            self._unsaved += len(messages)
            self._engine.add(self._decoded(messages))
            self._outbox += self._engine.evaluate(mark.time_ms)
        self._metrics.collect(self._engine)
        if self._outbox:
            await self._publish(live=self._now_ms() - marks[-1].time_ms < LIVE_WITHIN_MS)
        self._last = msgspec.structs.replace(marks[-1], stage="signals", signals_seq=self._signals_seq)
        self._between_rounds = True
        if self._unsaved >= self._snapshot_messages and (self._saving is None or self._saving.done()):
            # Beside the next rounds: what is exported does not change any more.
            windows, self._unsaved = self._engine.windows.export(), 0
            self._saving = asyncio.create_task(self._save(windows, self._last.candles_seq))

    async def close(self) -> None:
        """Save the windows as they are after the last mark, so that the next start need not read much."""
        if self._saving:
            await self._saving
        if self._between_rounds and self._unsaved and self._last:
            await self._save(self._engine.windows.export(), self._last.candles_seq)

    async def _save(self, windows: Sequence[tuple[Series, Candles]], candles_seq: int) -> None:
        try:
            await self._snapshots.save(windows, candles_seq=candles_seq)
        except TocsinError as error:
            log.warning("snapshot not saved, the next one will do", error=str(error))

    async def _publish(self, *, live: bool) -> None:
        """Publish the outbox except what is stored already; afterwards `_signals_seq` covers all of it."""
        if self._unsure:
            await self._look_what_is_stored()
        events = [event for event in self._outbox if event.event_id not in self._stored]
        seqs = [self._stored.pop(event.event_id, 0) for event in self._outbox]
        self._unsure = True  # until the receipts are here, nobody knows what is stored
        receipts = await self._bus.publish(events)
        self._unsure = False
        seqs += [receipt.seq for receipt in receipts if receipt.stream == SIGNALS.name]
        self._signals_seq = max(self._signals_seq, *seqs)
        self._outbox.clear()
        fresh = [event for event, receipt in zip(events, receipts, strict=True) if not receipt.duplicate]
        self._metrics.published(fresh, now_ms=self._now_ms() if live else None)

    async def _look_what_is_stored(self) -> None:
        """Ids and sequences of the signals stored after those that `_signals_seq` covers."""
        reader = self._bus.reader(SIGNALS, after=self._signals_seq)
        try:
            messages = await reader.through((await self._bus.stream_state(SIGNALS)).last_seq)
        finally:
            await reader.close()
        self._stored = {message.message_id: message.seq for message in messages}
        self._unsure = False

    def _decoded(self, messages: Iterable[Received]) -> Iterator[CandlesClosed]:
        """The candles of the engine's timeframes; what is not valid goes to the outbox as a dead letter."""
        for message in messages:
            if message.subject.rpartition(".")[2] not in self._engine.timeframes:
                continue
            try:
                event = message.event()
                if not isinstance(event, CandlesClosed):
                    raise Malformed(f"{type(event).__name__} on {message.subject}, expected candles")
            except Malformed as error:
                self._outbox.append(_dead_letter(message, error))
                log.error("dead letter", subject=message.subject, seq=message.seq, error=str(error))
            else:
                yield event

    def _covers(self, mark: ClockAdvanced) -> bool:
        """Whether the last mark is this one or a later one. Sequences never go back; time may, with a new source."""
        last = self._last
        if last is None:
            return False
        if (mark.trades_seq, mark.candles_seq) != (last.trades_seq, last.candles_seq):
            return mark.trades_seq <= last.trades_seq and mark.candles_seq <= last.candles_seq
        progress, done = (mark.time_ms, mark.cursor, mark.ended), (last.time_ms, last.cursor, last.ended)
        return mark.source == last.source and progress <= done


def _mark(item: Incoming) -> ClockAdvanced:
    if not isinstance(item.event, ClockAdvanced):
        raise Rejected("unexpected_event", f"{type(item.event).__name__} on {item.message.subject}")
    return item.event


def _dead_letter(message: Received, error: Malformed) -> DeadLetter:
    return DeadLetter(
        service=SERVICE,
        stream=message.stream,
        seq=message.seq,
        original_subject=message.subject,
        reason="malformed",
        error=str(error)[:DEAD_LETTER_ERROR_CHARS],
        payload=message.data,
    )
