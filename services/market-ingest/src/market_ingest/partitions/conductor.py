"""The market clock of several replicas: one of them conducts, the others tell it how far they have come.

Whoever holds the lease merges what all report (`merging`) and writes the marks. A replica that is alone conducts
itself, and its reports go nowhere else. The others' reports are entries of the bucket `progress`, which the conductor
watches. A mark is appended only behind the mark its conductor knows as the last one: of two conductors, the one whose
time is over is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import msgspec
import structlog

from market_ingest.partitions.merging import PATIENCE_S, MarketClock, Report
from market_ingest.partitions.ownership import Ownership
from market_ingest.partitions.sharing import format_ranges
from tocsin_common.bus.consume import pause
from tocsin_common.bus.leases import TTL_S, Lease
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.errors import Conflict, Unreachable
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK, LEASES, PROGRESS
from tocsin_common.subjects import clock as clock_subject

log = structlog.get_logger()

KEY = "ingest-conductor"
MARK_S = 1.0
"""Reports of others that close no candle make a mark at most this often."""


class Conductor:
    """Writes marks while it holds the lease; otherwise it leaves its reports for the one that does.

    `marked` is told of every mark and of the partitions that the clock left behind.
    """

    def __init__(
        self,
        bus: Bus,
        ownership: Ownership,
        source: str,
        marked: Callable[[ClockAdvanced, frozenset[int]], None],
        *,
        ttl_s: int = TTL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._bus, self._ownership, self._source, self._marked = bus, ownership, source, marked
        self._bucket = bus.bucket(PROGRESS)
        self._lease = Lease(bus.bucket(LEASES), KEY, ownership.name.encode(), ttl_s=ttl_s)
        self._patience_s = patience_s
        self._clock: MarketClock | None = None
        self._last_seq = 0
        self._written = 0
        self._marked_s = 0.0
        self._behind: frozenset[int] = frozenset()
        self._marking = asyncio.Lock()

    @property
    def conducting(self) -> bool:
        return self._clock is not None and self._lease.held

    async def report(self, report: Report) -> None:
        """Our own progress: a mark follows at once when we conduct. Raises Unreachable."""
        if self.conducting:
            await self._take(report, now=True)
        else:
            await self._bucket.put(report.replica, msgspec.json.encode(report))

    async def run(self, stop: asyncio.Event) -> None:
        """Conduct whenever nobody else does, until `stop`."""
        listening: asyncio.Task[None] | None = None
        try:
            while not stop.is_set():
                held = await self._lease.renew() if self._lease.held else await self._lease.acquire()
                if held and self._clock is None:
                    self._end(listening)
                    try:
                        await self._begin()
                        listening = asyncio.create_task(self._listen())
                    except Unreachable as error:
                        log.warning("cannot conduct the clock yet", error=str(error))
                elif not held and self._clock is not None:
                    self._end(listening)
                if self.conducting:
                    await self._tidy()
                await pause(stop, self._lease.renew_every_s)
        finally:
            self._end(listening)
            await self._lease.release()

    async def _begin(self) -> None:
        message = await self._bus.last(CLOCK, clock_subject("market"))
        last = message.event() if message else None
        clock = MarketClock(
            last if isinstance(last, ClockAdvanced) else None, self._source, patience_s=self._patience_s
        )
        for entry in (await self._bucket.all()).values():
            clock.take(_report(entry), time.monotonic())
        self._last_seq, self._written = (message.seq if message else 0), 0
        self._clock = clock
        log.info("conducting the market clock", members=len(self._ownership.members))

    def _end(self, listening: asyncio.Task[None] | None) -> None:
        self._clock = None
        if listening is not None:
            listening.cancel()

    async def _listen(self) -> None:
        """Take what the others report, for ever."""
        while True:
            try:
                async with aclosing(self._bucket.watch()) as entries:  # type: ignore[type-var]
                    async for entry in entries:
                        if entry.value is not None and entry.key != self._ownership.name:
                            await self._take(_report(entry), now=False)
            except Unreachable as error:
                log.warning("cannot hear the other replicas", error=str(error))
                await asyncio.sleep(MARK_S)

    async def _take(self, report: Report, *, now: bool) -> None:
        async with self._marking:
            clock = self._clock
            if clock is None:
                return
            clock.take(report, time.monotonic())
            if now or report.candles_seq > self._written or time.monotonic() - self._marked_s >= MARK_S:
                await self._mark(clock)

    async def _mark(self, clock: MarketClock) -> None:
        now_s = time.monotonic()
        mark = clock.mark(now_s)
        if mark is None or not self._lease.held:
            return
        try:
            stored = await self._bus.append(mark, expected_last=self._last_seq)
        except Conflict as error:
            log.warning("somebody else has marked the clock", error=str(error))
            self._clock = None
            await self._lease.release()
            return
        clock.marked(mark)
        self._last_seq, self._written, self._marked_s = stored.seq, mark.candles_seq, now_s
        self._announce(clock.left_behind(now_s))
        self._marked(mark, self._behind)

    def _announce(self, behind: frozenset[int]) -> None:
        for partitions, what in ((behind - self._behind, "left behind"), (self._behind - behind, "caught up")):
            if partitions:
                log.warning(f"partitions {what} by the market clock", partitions=format_ranges(partitions))
        self._behind = behind

    async def _tidy(self) -> None:
        """Forget the reports of the dead, once others speak for all their partitions."""
        clock, members = self._clock, self._ownership.members
        if clock is None:
            return
        clock.everything = frozenset().union(*members.values()) if members else clock.everything
        try:
            entries = await self._bucket.all()
            for entry in entries.values():
                if entry.key not in members and clock.is_replaced(_report(entry)):
                    await self._bucket.delete(entry.key)
        except Unreachable as error:
            log.warning("reports of former replicas not tidied", error=str(error))
        else:
            clock.keep_counts_of({*entries, *members, self._ownership.name})


def _report(entry: Entry) -> Report:
    return msgspec.json.decode(entry.value or b"", type=Report)
