"""One replica writes the marks of stage `signals`, and none is missing when nothing more happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from signal_engine.partitions.merging import Report, SignalsClock
from signal_engine.partitions.shared import SIGNAL_ENGINE
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import ClockAdvanced
from tocsin_common.partitions.conductor import Conductor
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CLOCK, PROGRESS
from tocsin_common.subjects import clock


def answer(number: int) -> ClockAdvanced:
    return ClockAdvanced(
        stage="signals", source="live", time_ms=number, trades_seq=0, candles_seq=number, signals_seq=number
    )


class Replica:
    """A conductor; `report` speaks for the partitions given."""

    def __init__(self, bus: MemoryBus, host: str) -> None:
        self.ownership = Ownership(bus, SIGNAL_ENGINE, ALL, lambda: None, ttl_s=1, look_s=0.05, host=host)
        self.conductor = Conductor(
            bus, self.ownership, "signals", Report, SignalsClock, lambda mark, behind: None, ttl_s=1
        )

    async def report(self, number: int, partitions: Iterable[int] = ALL, *, token: int = 1) -> None:
        tokens = dict.fromkeys(partitions, token)
        await self.conductor.report(Report(replica=self.ownership.name, tokens=tokens, covered=answer(number)))


@asynccontextmanager
async def running(bus: MemoryBus, host: str) -> AsyncIterator[Replica]:
    replica = Replica(bus, host)
    async with replica.conductor.taking_part():
        yield replica


async def until(condition: Callable[[], bool | Awaitable[bool]], wait_s: float = 10.0) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.005)


async def marks(bus: MemoryBus) -> list[int]:
    messages = await bus.page(CLOCK, clock("signals"))
    return [event.candles_seq for message in messages if isinstance(event := message.event(), ClockAdvanced)]


async def test_alone_what_it_reports_is_marked_at_once_and_goes_nowhere_else(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        for number in (1, 2, 3):
            await one.report(number)
            assert await marks(memory_bus) == list(range(1, number + 1))
        assert await memory_bus.bucket(PROGRESS).all() == {}


async def test_a_mark_follows_the_report_of_the_last_replica(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        async with running(memory_bus, "two") as two:
            await one.report(5, range(32))
            assert await marks(memory_bus) == []
            await two.report(4, range(32, 64))

            async def marked() -> bool:
                return await marks(memory_bus) == [4]

            await until(marked)


async def test_what_was_reported_before_anybody_conducted_is_marked_then(memory_bus: MemoryBus) -> None:
    replica = Replica(memory_bus, "one")
    await replica.report(7)

    async def marked() -> bool:
        return await marks(memory_bus) == [7]

    async with replica.conductor.taking_part():
        await until(marked)


async def test_overtaken_it_begins_anew_with_what_it_had_reported_to_itself(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(1)
        await memory_bus.publish([answer(2)])
        await one.report(3)
        assert await marks(memory_bus) == [1, 2]

        async def marked() -> bool:
            return await marks(memory_bus) == [1, 2, 3]

        await until(marked)


async def test_the_next_conductor_hears_what_the_one_before_had_reported_to_itself(memory_bus: MemoryBus) -> None:
    async with running(memory_bus, "one") as one:
        await until(lambda: one.conductor.conducting)
        await one.report(5, range(32))
        entries = memory_bus.bucket(PROGRESS)
        await memory_bus.publish([answer(1)])
        await one.report(6, range(32))  # nothing to mark yet: it conducts on
        async with running(memory_bus, "two") as two:
            await two.report(6, range(32, 64))  # one is refused, and conducts no more

            async def marked() -> bool:
                return (await marks(memory_bus))[-1] == 6

            await until(marked)
            assert any(two.ownership.name in key for key in await entries.all())
