"""One replica writes the market clock, from what all report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from market_ingest.partitions.market import MARKET_INGEST
from market_ingest.partitions.merging import MarketClock, Report
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import ClockAdvanced
from tocsin_common.partitions.conductor import Conductor
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CLOCK, PROGRESS


class Replica:
    """An ownership and a conductor; `report` speaks for the partitions given."""

    def __init__(self, bus: MemoryBus, host: str) -> None:
        self.marks: list[tuple[ClockAdvanced, frozenset[int]]] = []
        self.ownership = Ownership(bus, MARKET_INGEST, ALL, lambda: None, ttl_s=1, look_s=0.05, host=host)
        self.conductor = Conductor(
            bus,
            self.ownership,
            "market",
            Report,
            lambda last: MarketClock(last, "live", patience_s=1.0),
            lambda mark, behind: self.marks.append((mark, behind)),
            ttl_s=1,
        )

    async def report(self, partitions: range, time_ms: int, seq: int, token: int = 1) -> None:
        await self.conductor.report(
            Report(
                replica=self.ownership.name,
                tokens=dict.fromkeys(partitions, token),
                time_ms=time_ms,
                trades_seq=seq,
                candles_seq=seq,
                trades_from_seq=seq,
                candles_from_seq=seq,
            )
        )


@asynccontextmanager
async def running(bus: MemoryBus, host: str) -> AsyncIterator[Replica]:
    replica, over = Replica(bus, host), asyncio.Event()
    tasks = [asyncio.create_task(one.run(over)) for one in (replica.ownership, replica.conductor)]
    try:
        yield replica
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool | Awaitable[bool]], wait_s: float = 10.0) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.005)


async def marks(bus: MemoryBus) -> list[ClockAdvanced]:
    messages = await bus.reader(CLOCK, after=0).through((await bus.stream_state(CLOCK)).last_seq)
    return [event for message in messages if isinstance(event := message.event(), ClockAdvanced)]


async def test_alone_its_reports_are_the_marks_and_go_nowhere_else(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(range(64), 1_000, 3)
        await one.report(range(64), 2_000, 4)
        assert [(mark.time_ms, mark.trades_seq) for mark in await marks(memory_bus)] == [(1_000, 3), (2_000, 4)]
        assert await memory_bus.bucket(PROGRESS).all() == {}


async def test_what_another_replica_reports_is_in_the_next_mark_at_once_when_a_candle_closed(
    memory_bus: MemoryBus,
) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        async with running(memory_bus, "two") as two:
            await one.report(range(32), 2_000, 3)
            await two.report(range(32, 64), 1_000, 9)
            await until(lambda: len(one.marks) == 2)
    assert [(mark.time_ms, mark.candles_seq) for mark in await marks(memory_bus)] == [(2_000, 3), (2_000, 9)]
    assert two.marks == []


async def test_garbage_among_the_reports_stops_nobody(memory_bus: MemoryBus) -> None:
    bucket = memory_bus.bucket(PROGRESS)
    await bucket.put("market-ingest-x", b'{"replica":"x"}')
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        async with running(memory_bus, "two") as two:
            await bucket.put("market-ingest-y", b"\xff")
            await one.report(range(32), 2_000, 3)
            await two.report(range(32, 64), 1_000, 9)
            await until(lambda: len(one.marks) == 2)
    assert [(mark.time_ms, mark.candles_seq) for mark in await marks(memory_bus)] == [(2_000, 3), (2_000, 9)]


async def test_when_the_conductor_leaves_another_goes_on_with_what_was_reported(memory_bus: MemoryBus) -> None:
    async with AsyncExitStack() as second:
        async with running(memory_bus, "one") as one:
            await until(lambda: one.conductor.conducting)
            two = await second.enter_async_context(running(memory_bus, "two"))
            await one.report(range(32), 5_000, 3)
            await two.report(range(32, 64), 6_000, 9)
            await until(lambda: len(one.marks) == 2)
        await until(lambda: two.conductor.conducting)
        await two.report(range(64), 7_000, 12, token=2)
    found = await marks(memory_bus)
    assert [mark.time_ms for mark in found] == [5_000, 5_000, 7_000]
    assert found[-1].trades_seq == 12


async def test_a_conductor_that_was_overtaken_writes_nothing_and_begins_anew(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(range(64), 1_000, 1)
        theirs = ClockAdvanced(stage="market", source="live", time_ms=9_000, trades_seq=9, candles_seq=9)
        await memory_bus.publish([theirs])
        await one.report(range(64), 2_000, 2)
        assert not one.conductor.conducting
        await until(lambda: one.conductor.conducting)
        await one.report(range(64), 10_000, 10)
    assert [mark.time_ms for mark in await marks(memory_bus)] == [1_000, 9_000, 10_000]


async def test_partitions_left_behind_are_told_of(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(range(64), 1_000, 1)
        seq = 1

        async def left_behind() -> bool:
            nonlocal seq
            seq += 1
            await one.report(range(1, 64), 1_000 + seq, seq)
            return one.marks[-1][1] == {0}

        await until(left_behind)
        assert one.marks[-1][0].time_ms > 1_000


async def test_the_report_of_a_dead_replica_is_tidied_when_others_speak_for_its_partitions(
    memory_bus: MemoryBus,
) -> None:
    dead = Replica(memory_bus, "dead")
    await dead.report(range(32), 1_000, 1)
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(range(64), 2_000, 2, token=2)

        async def tidy() -> bool:
            return await memory_bus.bucket(PROGRESS).all() == {}

        await until(tidy)
