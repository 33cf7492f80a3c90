"""One of several signal-engines: it evaluates its partitions from mark to mark, and begins anew when these change.

A life is one set of partitions, under the leases they were taken with. What is not ours under these any more, of that
nothing is stored and nothing is said. Taking over is restarting: the next life finds the last mark of all, warms up on
the candles before it, and does again what followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from signal_engine.metrics import Metrics
from signal_engine.partitions.merging import Report, SignalsClock
from signal_engine.partitions.shared import SIGNAL_ENGINE, partition_of_event
from signal_engine.rounds import MARKS_PER_ROUND, Rounds, a_breath
from tocsin_common.bus.consume import Incoming, Loop, consume_in_order, insist
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.errors import Unreachable
from tocsin_common.events import ClockAdvanced, Event
from tocsin_common.metrics import LoopMetrics
from tocsin_common.partitions.conductor import Conductor
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import format_ranges
from tocsin_common.streams import CLOCK
from tocsin_common.subjects import clock

log = structlog.get_logger()

Begin = Callable[["Life"], Rounds]
"""Makes the rounds of a life."""


class Life:
    """What is ours from a change of shares to the next. `tokens`: the partitions, with the tokens of their leases."""

    def __init__(self, ownership: Ownership, tokens: Mapping[int, int]) -> None:
        self.writer = ownership.name
        self.partitions = frozenset(tokens)
        self.over = asyncio.Event()
        self._ownership, self._tokens = ownership, tokens
        self._renewing: asyncio.Task[None] | None = None

    @property
    def tokens(self) -> dict[int, int]:
        """What still is ours as it was at the beginning."""
        now = self._ownership.tokens
        return {partition: token for partition, token in self._tokens.items() if now.get(partition) == token}

    async def breathe(self) -> None:
        """Let others go on, and keep what is ours: a long round must not cost us the leases. What is renewed has until
        the next breath."""
        if self._renewing is not None:
            await self._renewing
        self._renewing = asyncio.create_task(self._ownership.keep_up())
        await a_breath()

    async def store(self, events: Sequence[Event]) -> list[tuple[Event, Stored]]:
        """Store what is ours, in order; returns that with its receipts. Raises Unreachable."""
        ours = {None, *self.tokens}
        return await self._ownership.store([event for event in events if partition_of_event(event) in ours])


class Replica:
    """Holds its share of what is `allowed`; `begin` makes the rounds of every life."""

    def __init__(
        self, bus: Bus, allowed: frozenset[int], begin: Begin, metrics: Metrics, loop_metrics: LoopMetrics
    ) -> None:
        self._bus, self._begin, self._metrics, self._loop_metrics = bus, begin, metrics, loop_metrics
        self._ownership = Ownership(bus, SIGNAL_ENGINE, allowed, self._shares_changed)
        self._conductor = Conductor(bus, self._ownership, "signals", Report, SignalsClock, self._marked)
        self._life = Life(self._ownership, {})
        self._rounds: Rounds | None = None

    async def problem(self) -> str | None:
        """Readiness: a sentence while there is nothing to evaluate yet, or while warming up."""
        return await self._rounds.problem() if self._rounds else "waiting for a share of the partitions"

    async def run(self, stop: asyncio.Event) -> None:
        """Take part until `stop`, life after life."""
        async with self._conductor.taking_part():
            ending = asyncio.create_task(self._end_with(stop))
            while not stop.is_set():
                self._life = Life(self._ownership, self._ownership.tokens)
                await (self._live(self._life) if self._life.partitions else self._life.over.wait())
            ending.cancel()

    async def _live(self, life: Life) -> None:
        log.info("a life begins", partitions=format_ranges(life.partitions))
        self._rounds = rounds = self._begin(life)
        try:
            await insist(life.over, rounds.resume, "warm up")
            if (last := rounds.last) is not None:  # in the place of what the former owners said
                await insist(life.over, lambda: self._report(life, last), "tell how far we are")
        except Unreachable:
            return  # over before it began
        follower = self._bus.follow(CLOCK, clock("market"), after=rounds.position.seq)

        async def handle(batch: Sequence[Incoming]) -> Sequence[Event]:
            events = await rounds.handle(batch)
            for mark in events:
                if isinstance(mark, ClockAdvanced):
                    await self._report(life, mark)
            return [event for event in events if not isinstance(event, ClockAdvanced)]

        try:
            loop = Loop(self._bus, follower, SIGNAL_ENGINE.service, life.over, self._loop_metrics)
            await consume_in_order(loop, handle, batch=MARKS_PER_ROUND)
        finally:
            await follower.close()
            await rounds.close()

    async def _report(self, life: Life, mark: ClockAdvanced) -> None:
        await self._conductor.report(Report(replica=self._ownership.name, tokens=life.tokens, covered=mark))

    async def _end_with(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._life.over.set()

    def _shares_changed(self) -> None:
        self._metrics.partitions.set(len(self._ownership.tokens))
        self._life.over.set()

    def _marked(self, mark: ClockAdvanced, _left_behind: frozenset[int]) -> None:
        self._metrics.clock.set(mark.time_ms / 1000)
