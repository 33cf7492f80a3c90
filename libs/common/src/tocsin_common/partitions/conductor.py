"""One clock of several replicas: one of them conducts, the others tell it how far they have come.

Whoever holds the lease merges what all report (`Merging`) and writes the marks. A replica that is alone conducts
itself, and its reports go nowhere else. The others' reports are entries of the bucket `progress`, which the conductor
watches. A mark is appended only behind the mark its conductor knows as the last one: of two conductors, the one whose
time is over is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import aclosing, asynccontextmanager
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from tocsin_common.bus.consume import pause
from tocsin_common.bus.leases import TTL_S, Lease
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Conflict, Unreachable
from tocsin_common.events import ClockAdvanced
from tocsin_common.partitions.entries import said
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import format_ranges
from tocsin_common.streams import CLOCK, LEASES, PROGRESS
from tocsin_common.subjects import clock as clock_subject

log = structlog.get_logger()

MARK_S = 1.0
"""Reports of others that are not pressing make a mark at most this often."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far one replica has come. `tokens`: the partitions it speaks for, with the tokens of their leases."""

    replica: str
    tokens: dict[int, int]


R = TypeVar("R", bound=Report)
Reported = TypeVar("Reported", bound=Report, contravariant=True)


class Merging(Protocol[Reported]):
    """One clock from the reports of all. Pure; `now_s` is the caller's monotonic clock."""

    def take(self, report: Reported, now_s: float) -> None:
        """Take a replica's report; reports of one replica in their order, repetitions do no harm."""
        ...

    def pressing(self, report: Reported) -> bool:
        """Whether somebody waits for what this report brings."""
        ...

    def mark(self, now_s: float) -> ClockAdvanced | None:
        """The mark that can be made now, or None when it would say nothing new."""
        ...

    def marked(self, mark: ClockAdvanced) -> None:
        """The mark is on the stream."""
        ...

    def left_behind(self, now_s: float) -> frozenset[int]:
        """The partitions the clock does not wait for."""
        ...

    def is_replaced(self, report: Reported) -> bool:
        """Whether later owners have reported all of its partitions."""
        ...

    def look_around(self, members: Mapping[str, frozenset[int]], reporting: Set[str]) -> None:
        """Who is there, with what each may hold, and of whom there are reports."""
        ...


class Conductor(Generic[R]):
    """Writes the marks of a stage while it holds the lease; otherwise it leaves its reports for the one that does.

    `merging` makes the clock that goes on from the last mark there is. `marked` is told of every mark and of the
    partitions that the clock left behind.
    """

    def __init__(
        self,
        bus: Bus,
        ownership: Ownership,
        stage: str,
        kind: type[R],
        merging: Callable[[ClockAdvanced | None], Merging[R]],
        marked: Callable[[ClockAdvanced, frozenset[int]], None],
        *,
        ttl_s: int = TTL_S,
    ) -> None:
        self._bus, self._ownership, self._stage, self._kind = bus, ownership, stage, kind
        self._merging, self._marked = merging, marked
        self._bucket = bus.bucket(PROGRESS)
        self._prefix = f"{ownership.service}-"
        self._lease = Lease(bus.bucket(LEASES), f"{self._prefix}conductor", ownership.name.encode(), ttl_s=ttl_s)
        self._clock: Merging[R] | None = None
        self._last_seq = 0
        self._marked_s = 0.0
        self._behind: frozenset[int] = frozenset()
        self._own: R | None = None
        self._told: R | None = None
        self._marking = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None

    @property
    def conducting(self) -> bool:
        return self._clock is not None and self._lease.held

    @asynccontextmanager
    async def taking_part(self) -> AsyncIterator[None]:
        """Keep our share and conduct inside the context, and leave in order after it."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ownership.run(over))
            tasks.create_task(self.run(over))
            try:
                yield
            finally:
                over.set()

    async def report(self, report: R) -> None:
        """Our own progress: a mark follows at once when we conduct. Raises Unreachable."""
        self._own = report
        if self.conducting:
            await self._take(report, now=True)
        else:
            await self._tell()

    async def run(self, stop: asyncio.Event) -> None:
        """Conduct whenever nobody else does, until `stop`."""
        try:
            while not stop.is_set():
                held = await self._lease.renew() if self._lease.held else await self._lease.acquire()
                try:
                    if held and self._clock is None:
                        await self._begin()
                    elif not held and self._clock is not None:
                        self._end()
                    await (self._tidy() if self.conducting else self._tell())
                except Unreachable as error:
                    log.warning("trouble with conducting", stage=self._stage, error=str(error))
                await pause(stop, self._lease.renew_every_s)
        finally:
            self._end()
            await self._lease.release()

    async def _tell(self) -> None:
        """Leave our last report to the conductor, unless it is there."""
        if self._own is not None and self._own is not self._told:
            report = self._own
            await self._bucket.put(self._prefix + self._ownership.name, msgspec.json.encode(report))
            self._told = report

    async def _begin(self) -> None:
        self._end()
        message = await self._bus.last(CLOCK, clock_subject(self._stage))
        last = message.event() if message else None
        clock = self._merging(last if isinstance(last, ClockAdvanced) else None)
        reports = [report for report in await self._reports() if report.replica != self._ownership.name]
        reports += [self._own] if self._own is not None else []
        for report in reports:
            clock.take(report, time.monotonic())
        self._last_seq = message.seq if message else 0
        self._clock, self._listening = clock, asyncio.create_task(self._listen())
        log.info("conducting the clock", stage=self._stage, members=len(self._ownership.members))
        if any(clock.pressing(report) for report in reports):
            async with self._marking:
                await self._mark(clock)

    def _end(self) -> None:
        self._clock = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def _listen(self) -> None:
        """Take what the others report, for ever."""
        own = self._prefix + self._ownership.name
        while True:
            try:
                async with aclosing(self._bucket.watch()) as entries:  # type: ignore[type-var]
                    async for entry in entries:
                        if entry.value is not None and entry.key.startswith(self._prefix) and entry.key != own:
                            report = said(entry, self._kind)
                            if report is not None:
                                await self._take(report, now=False)
            except Unreachable as error:
                log.warning("cannot hear the other replicas", stage=self._stage, error=str(error))
                await asyncio.sleep(MARK_S)

    async def _take(self, report: R, *, now: bool) -> None:
        async with self._marking:
            clock = self._clock
            if clock is None:
                return
            pressing = now or clock.pressing(report)
            clock.take(report, time.monotonic())
            if pressing or time.monotonic() - self._marked_s >= MARK_S:
                await self._mark(clock)

    async def _mark(self, clock: Merging[R]) -> None:
        now_s = time.monotonic()
        mark = clock.mark(now_s)
        if mark is None or not self._lease.held:
            return
        try:
            stored = await self._bus.append(mark, expected_last=self._last_seq)
        except Conflict as error:
            log.warning("somebody else has marked the clock", stage=self._stage, error=str(error))
            self._clock = None
            await self._lease.release()
            return
        clock.marked(mark)
        self._last_seq, self._marked_s = stored.seq, now_s
        self._announce(clock.left_behind(now_s))
        self._marked(mark, self._behind)

    def _announce(self, behind: frozenset[int]) -> None:
        for partitions, what in ((behind - self._behind, "left behind"), (self._behind - behind, "caught up")):
            if partitions:
                log.warning(f"partitions {what} by the clock", stage=self._stage, partitions=format_ranges(partitions))
        self._behind = behind

    async def _tidy(self) -> None:
        """Forget the reports of the dead, once others speak for all their partitions."""
        clock, members = self._clock, self._ownership.members
        if clock is None:
            return
        reports = await self._reports()
        clock.look_around(members, {*(report.replica for report in reports), *members, self._ownership.name})
        for report in reports:
            if report.replica not in members and clock.is_replaced(report):
                await self._bucket.delete(self._prefix + report.replica)

    async def _reports(self) -> list[R]:
        entries = await self._bucket.all()
        reports = (said(entry, self._kind) for key, entry in entries.items() if key.startswith(self._prefix))
        return [report for report in reports if report is not None]
