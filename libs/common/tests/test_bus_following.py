"""Following a subject: everybody gets everything, from a position of their own. Every bus passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.embedded import NatsServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus, Consumer, Received
from tocsin_common.config import NatsSection
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK, DURABLES
from tocsin_common.subjects import clock

MARKS = clock("signals")


async def take(follower: Consumer, count: int) -> list[Received]:
    """The next `count` messages, acknowledged; fewer when no more come."""
    found: list[Received] = []
    while len(found) < count and (more := await follower.fetch(count - len(found), 5)):
        await follower.ack(more)
        found += more
    return found


def seqs(messages: list[Received]) -> list[int]:
    return [message.seq for message in messages]


async def test_each_follower_gets_everything_after_its_position(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    first, second = bus.follow(CLOCK, MARKS, after=0), bus.follow(CLOCK, MARKS, after=3)
    assert seqs(await take(first, 5)) == [1, 2, 3, 4, 5]
    assert seqs(await take(second, 2)) == [4, 5]


async def test_what_comes_later_is_handed_out_as_it_comes(bus: Bus, given: Any) -> None:
    follower = bus.follow(CLOCK, MARKS, after=0)
    assert await follower.fetch(10, 0.05) == []
    await bus.publish([given.mark(1)])
    assert seqs(await follower.fetch(10, 5)) == [1]
    assert await follower.fetch(10, 0.05) == []


async def test_other_subjects_of_the_stream_are_not_handed_out(bus: Bus, given: Any) -> None:
    other = ClockAdvanced(stage="market", source="test", time_ms=2, trades_seq=0, candles_seq=0)
    await bus.publish([given.mark(1), other, given.mark(3)])
    assert seqs(await take(bus.follow(CLOCK, MARKS, after=0), 2)) == [1, 3]


async def test_a_follower_can_go_back_and_the_durables_know_nothing_of_it(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(4))
    follower = bus.follow(CLOCK, MARKS, after=0)
    assert seqs(await take(follower, 4)) == [1, 2, 3, 4]
    await follower.reset(2)
    assert seqs(await take(follower, 2)) == [3, 4]
    floors = [(await bus.durable_state(durable)).ack_floor_seq for durable in DURABLES if durable.stream is CLOCK]
    assert set(floors) == {0}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def test_after_a_crash_of_the_server_it_goes_on_with_none_missing_and_none_twice(
    server: NatsServer, given: Any
) -> None:
    bus = JetStreamBus(await Connection.open(NatsSection(url=server.url), name="test"))
    await provision.apply(bus.connection, provision.declared())
    follower = bus.follow(CLOCK, MARKS, after=0)
    await bus.publish(given.marks(50))
    taken = await take(follower, 50)
    await server.kill()
    await server.start()
    await bus.publish(given.marks(50, start=51))
    async with asyncio.timeout(20):
        while len(taken) < 100:
            taken += await follower.fetch(100, 1.0)
    times = [event.time_ms for message in taken if isinstance(event := message.event(), ClockAdvanced)]
    assert times == list(range(1, 101))
    await bus.close()
