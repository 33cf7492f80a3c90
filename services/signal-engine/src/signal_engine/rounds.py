"""The edge to the bus: from mark to mark, candles are read and evaluated, and their signals published.

What a round yields does not depend on how marks were batched. After a crash at any point the engine finds its own
last mark, warms up on the candles before it, does again what follows, and skips the signals already stored: none is
lost and none is there twice, also when the server no longer remembers their ids. Of several replicas each does so for
its own partitions (`partitions/`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import zip_longest
from typing import cast

import msgspec
import structlog

from signal_engine.ahead import WorkAhead
from signal_engine.engine import Engine
from signal_engine.intake import Intake
from signal_engine.keeping import Keeping
from signal_engine.marks import Position, before_first_new, mark_of
from signal_engine.measuring import LIVE_WITHIN_MS, Measuring
from signal_engine.metrics import Metrics
from signal_engine.outbox import Outbox, Store
from signal_engine.pace import SLOW_ROUND_S
from signal_engine.reading import ReadAhead
from signal_engine.snapshots import Snapshots
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Received, Stored
from tocsin_common.events import ClockAdvanced, Event, RoundsChanged
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CANDLES, CLOCK, SNAPSHOTS
from tocsin_common.subjects import clock

log = structlog.get_logger()

MARKS_PER_ROUND = 8
"""Marks fetched at a time. A replay's mark stands for up to 20,000 candles: a round stays at a few seconds, and
whoever waits for its mark is not kept waiting long."""

SNAPSHOT_MESSAGES = 20_000
"""Messages of candles between two snapshots: about what a restart reads in a few seconds."""

WARM_UP_STEP = 5_000
"""Messages read at a time while warming up."""

SLICE_CANDLES = 5_000
"""Candles evaluated at a time. A mark of a replay stands for more, and what else is due (leases, above all) must not
wait for all of them."""

BREATH_EVERY_S, BREATH_S = 0.2, 0.002
"""How often, and at least for how long, many candles let others go on."""


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def a_breath() -> None:
    """Let others go on."""
    await asyncio.sleep(BREATH_S)


class Rounds:
    """Handles marks of market time for one engine. Call `resume` before the first `handle`, and again when it failed.

    `partitions` are those to evaluate, and `store` stores what comes of them; by default everything is ours. `writer`
    is a name that no other replica has. Whatever takes long waits for `breathe` now and then.
    """

    def __init__(
        self,
        bus: Bus,
        engine: Engine,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = wall_clock_ms,
        snapshot_messages: int = SNAPSHOT_MESSAGES,
        slow_round_s: float = SLOW_ROUND_S,
        partitions: frozenset[int] = ALL,
        store: Store | None = None,
        writer: str = "",
        breathe: Callable[[], Awaitable[None]] = a_breath,
    ) -> None:
        self.last: ClockAdvanced | None = None
        """The last mark, of stage `signals`: what it covers is done."""
        self.position = Position()
        """Where on CLOCK the marks begin that were not covered when this was resumed."""
        self._bus = bus
        self._engine = engine
        self._metrics = metrics
        self._now_ms = now_ms
        self._snapshot_messages = snapshot_messages
        self._partitions, self._writer = partitions, writer
        self._breathe, self._breath_s = breathe, 0.0
        self._ahead = WorkAhead(engine, metrics, breathe)
        self._intake = Intake(engine.timeframes, partitions, engine.across.timeframes if engine.across else ())
        self._outbox = Outbox(bus, store or self._store)
        self._measuring = Measuring(metrics, slow_round_s)
        self._told: list[RoundsChanged] = []
        self._candles = 0
        self._reader = ReadAhead(bus.reader(CANDLES, after=0))
        self._keeping: Keeping
        self._between_rounds = False
        self._resumed = False

    async def problem(self) -> str | None:
        """Readiness: a sentence while warming up."""
        return None if self._resumed else "warming up on stored candles"

    async def resume(self) -> None:
        """Find where the last run ended, warm up on the candles before that, and tell of strategies that are off."""
        await self._stop_work()
        started = time.monotonic()
        found = await self._bus.last(CLOCK, clock("signals"))
        if found is not None:
            self.last = last = cast("ClockAdvanced", found.event())
            self.position = await before_first_new(self._bus, last, found.seq)
            await self._outbox.begin(last.signals_seq, self.position.stored_ms)
        time_ms = self.last.time_ms if self.last else 0
        self._engine.clear(time_ms)
        through = await self._warm_up(self.last.candles_seq if self.last else 0)
        self._engine.resume(time_ms)
        self._metrics.collect(self._engine)
        self._tell_quarantined(time_ms)
        await self._outbox.publish()
        self._resumed = self._between_rounds = True
        self._ahead.begin()
        took_s = time.monotonic() - started
        log.info("resumed", candles_seq=through, signals_seq=self._outbox.signals_seq, seconds=took_s)

    async def _warm_up(self, through: int) -> int:
        """Fill the windows with the candles up to a sequence, or as many of these as there are; returns how far."""
        candles = await self._bus.stream_state(CANDLES)
        through, oldest = min(through, candles.last_seq), max(candles.first_seq - 1, 0)
        snapshots = Snapshots(
            self._bus.bucket(SNAPSHOTS),
            identity=candles.identity,
            timeframes=self._engine.timeframes,
            warm_up_candles=self._engine.windows.kept_candles,
            writer=self._writer,
        )
        self._keeping = Keeping(snapshots, self._engine, self._partitions, self._snapshot_messages)
        after = await self._keeping.restore(through)
        self._intake.read(after)
        position = max(oldest, min(after.values()))
        self._reader = ReadAhead(self._bus.reader(CANDLES, after=position))
        while position < through:
            position, following = (min(position + steps * WARM_UP_STEP, through) for steps in (1, 2))
            await self._take_in(await self._read(position, following), warm_up=True)
        self._intake.clear()  # dead letters of that stretch were written when it was read first
        return through

    async def _read(self, through: int, following: int) -> Sequence[Received]:
        messages = await self._reader.through(through, following)
        self._keeping.read(len(messages))
        return messages

    async def handle(self, batch: Sequence[Incoming]) -> Sequence[Event]:
        """One round over a batch of marks; returns the newest of them as a mark of stage `signals`, after what there is
        to say about the round.

        Marks an earlier round covered (they come again after a crash) move nothing: what was returned is repeated.
        """
        await self._ahead.end()
        fresh = [item for item in batch if self.last is None or not self.last.covers(mark_of(item))]
        if fresh:
            began_ms, began = self._now_ms(), time.perf_counter()
            with self._metrics.round_s.time():
                await self._round([mark_of(item) for item in fresh])
            self._told = self._measured(fresh, began_ms, time.perf_counter() - began)
        self._ahead.begin()
        return [*self._told, self.last] if self.last else []

    async def _round(self, marks: Sequence[ClockAdvanced]) -> None:
        """Whatever fails on the way, the same call again goes on: what was read and found is kept until it is out.

        Signals are stored mark by mark: so their order on the stream does not depend on batches either, and those
        of the marks handled so far always are the first ones, which is what `Outbox.publish` relies on.
        """
        self._between_rounds, self._breath_s = False, time.monotonic()
        for mark, following in zip_longest(marks, marks[1:], fillvalue=marks[-1]):
            await self._let_others_go_on()
            await self._evaluate(mark, following)
            self._outbox.begin_publishing()
        self._candles += self._engine.tally["evaluated"]
        self._metrics.collect(self._engine)
        await self._publish(live=self._now_ms() - marks[-1].time_ms < LIVE_WITHIN_MS)
        self._outbox.add(self._engine.compute())
        await self._publish(live=False)
        self.last = msgspec.structs.replace(marks[-1], stage="signals", signals_seq=self._outbox.signals_seq)
        self._between_rounds = True
        self._keeping.save(self.last.candles_seq)

    async def _evaluate(self, mark: ClockAdvanced, following: ClockAdvanced) -> None:
        """Read up to a mark and evaluate; all that came of it is in the outbox then. Many candles are evaluated in
        little more time than few: where the mark that follows changes nothing for these, they wait for its."""
        spent, started = self._engine.evaluation.spent, time.perf_counter()
        before_s = sum(spent.values())
        await self._take_in(await self._read(mark.candles_seq, following.candles_seq))
        spent["read"] += time.perf_counter() - started - (sum(spent.values()) - before_s)
        more = following is not mark and following.time_ms == mark.time_ms
        if more and self._engine.windows.pending < SLICE_CANDLES and self._engine.defer(mark.time_ms):
            return
        signals = self._engine.evaluate(mark.time_ms)
        self._outbox.add((*self._intake.letters, *signals))
        self._intake.letters.clear()
        self._tell_quarantined(mark.time_ms)

    async def _take_in(self, messages: Iterable[Received], *, warm_up: bool = False) -> None:
        """Give the engine the candles of messages, and evaluate on the way when there are many."""
        candles = 0
        for event, ours in self._intake.candles(messages):
            if ours:
                self._engine.add([event], warm_up=warm_up)
                candles += len(event.open_ms)
            else:
                self._engine.watch([event])
            if candles >= SLICE_CANDLES and not warm_up:
                self._engine.evaluate_some()
                candles = 0
            await self._let_others_go_on()

    async def _let_others_go_on(self) -> None:
        if time.monotonic() - self._breath_s > BREATH_EVERY_S:
            await self._breathe()
            self._breath_s = time.monotonic()

    def _tell_quarantined(self, at_ms: int) -> None:
        for one in self._engine.evaluation.quarantined:
            event = one.event(at_ms)
            self._metrics.quarantined(event)
            self._outbox.add([event])
        self._engine.evaluation.quarantined.clear()

    async def _publish(self, *, live: bool) -> None:
        started = time.perf_counter()
        fresh = await self._outbox.publish()
        self._engine.evaluation.spent["publish"] += time.perf_counter() - started
        self._metrics.published(fresh, now_ms=self._now_ms() if live else None)

    def _measured(self, batch: Sequence[Incoming], began_ms: int, took_s: float) -> list[RoundsChanged]:
        """What there is to say about a round."""
        spent, symbols, candles = self._engine.evaluation.spent, self._intake.symbols, self._candles
        told = self._measuring.after(
            batch, spent, began_ms=began_ms, took_s=took_s, symbols=len(symbols), candles=candles
        )
        spent.clear()
        symbols.clear()
        self._candles = 0
        return told

    async def close(self) -> None:
        """Save the windows as they are after the last mark, so that the next start need not read much."""
        await self._stop_work()
        await self._keeping.close(self.last.candles_seq if self.last and self._between_rounds else None)

    async def _stop_work(self) -> None:
        """Whatever was done beside."""
        await self._ahead.end()
        await self._reader.close()
        await self._outbox.close()

    async def _store(self, events: Sequence[Event]) -> list[tuple[Event, Stored]]:
        """Everything is ours."""
        return list(zip(events, await self._bus.publish(events), strict=True))
