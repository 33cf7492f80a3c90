"""A server killed in the middle of the work and started again: nothing lost, nothing twice, order kept."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tocsin.embedded import NatsServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.errors import Unreachable
from tocsin_common.events import SignalRaised
from tocsin_common.streams import ALERT_RULES, ALERTING_SEND, CLOCK, PAPER_TRADER, PROJECTOR, SEND, SIGNALS

CONSOLE = ALERTING_SEND["console", "info"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture
async def crashing_bus(server: NatsServer) -> AsyncIterator[JetStreamBus]:
    """A bus on a server of this test's own."""
    bus = JetStreamBus(await Connection.open(NatsSection(url=server.url), name="test"))
    await provision.apply(bus.connection, provision.declared())
    yield bus
    await bus.close()


async def crash_and_start(server: NatsServer) -> None:
    await server.kill()
    await server.start()


@pytest.mark.parametrize("batch", [1, 40], ids=["singly", "in batches"])
async def test_publishing_goes_on_where_it_was(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any, batch: int
) -> None:
    bus, count = crashing_bus, 800
    stored: list[int] = []
    halfway = asyncio.Event()

    async def publish() -> None:
        for start in range(1, count + 1, batch):
            stored.extend(receipt.seq for receipt in await bus.publish(given.signals(batch, start=start)))
            if start > count // 2:
                halfway.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        await halfway.wait()
        await crash_and_start(server)
    assert stored == list(range(1, count + 1))
    read = await bus.reader(SIGNALS, after=0).through(count)
    assert [message.event() for message in read] == given.signals(count)


async def test_many_publishers_of_one_stream_each_keep_their_order(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    bus, each = crashing_bus, 300
    symbols = [f"S{n}/USDT" for n in range(3)]
    halfway = asyncio.Event()

    async def publish(symbol: str) -> None:
        for start in range(0, each, 20):
            await bus.publish([given.signal(n, symbol=symbol) for n in range(start, start + 20)])
            if start > each // 2:
                halfway.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for symbol in symbols:
            tasks.create_task(publish(symbol))
        await halfway.wait()
        await crash_and_start(server)
    end = (await bus.stream_state(SIGNALS)).last_seq
    events = [message.event() for message in await bus.reader(SIGNALS, after=0).through(end)]
    for symbol in symbols:
        mine = [event.candle_open_ms for event in events if isinstance(event, SignalRaised) and event.symbol == symbol]
        assert mine == [n * 60_000 for n in range(each)]


async def test_consuming_in_order_hands_every_message_out_once(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    bus, count = crashing_bus, 2_000
    await bus.publish(given.signals(count))
    consumer = bus.consumer(PROJECTOR["SIGNALS"])
    handled: list[int] = []
    crash: asyncio.Task[None] | None = None
    async with asyncio.timeout(30):
        while len(handled) < count:
            batch = await fetch(consumer)
            handled += [message.seq for message in batch]
            await consumer.ack(batch)
            if len(handled) >= count // 2 and crash is None:
                crash = asyncio.create_task(crash_and_start(server))
    assert handled == list(range(1, count + 1))
    assert crash is not None
    await crash

    async def all_settled() -> bool:
        await fetch(consumer)
        state = await bus.durable_state(PROJECTOR["SIGNALS"])
        return (state.pending, state.ack_pending) == (0, 0)

    await given.eventually(all_settled, 20)


async def test_what_a_crash_takes_from_an_unsynced_stream_comes_back_and_is_handled_once(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    """The server acknowledges marks before they are on disk; the writer has them still."""
    bus, count = crashing_bus, 4_000
    consumer = bus.consumer(PAPER_TRADER)
    handled: list[int] = []
    receipts: list[int] = []

    async def publish() -> None:
        for start in range(1, count + 1, 10):
            receipts.extend(receipt.seq for receipt in await bus.publish(given.marks(10, start=start)))

    async def consume() -> None:
        while len(set(handled)) < count:
            batch = await fetch(consumer)
            handled.extend(message.event().time_ms for message in batch)
            await consumer.ack(batch)

    async def crash_in_the_middle_twice() -> None:
        for part in (count // 3, 2 * count // 3):

            async def far_enough(part: int = part) -> bool:
                return len(receipts) >= part

            await given.eventually(far_enough, 20)
            await crash_and_start(server)

    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        tasks.create_task(consume())
        tasks.create_task(crash_in_the_middle_twice())
    stored = [message.event() for message in await bus.reader(CLOCK, after=0).through(count)]
    assert stored == given.marks(count)
    assert receipts == list(range(1, count + 1))
    assert handled == list(range(1, count + 1))


async def fetch(consumer: Any) -> list[Any]:
    try:
        found: list[Any] = await consumer.fetch(50, 0.2)
    except Unreachable:
        await asyncio.sleep(0.05)
        return []
    return found


async def test_a_work_queue_loses_nothing(server: NatsServer, crashing_bus: JetStreamBus, given: Any) -> None:
    bus, count = crashing_bus, 300
    await bus.publish([given.send(n) for n in range(1, count + 1)])
    consumer = bus.consumer(CONSOLE)
    handled: set[int] = set()
    crash: asyncio.Task[None] | None = None
    async with asyncio.timeout(30):
        while len(handled) < count:
            batch = await fetch(consumer)
            handled |= {message.seq for message in batch}
            await consumer.ack(batch)
            if len(handled) >= count // 2 and crash is None:
                crash = asyncio.create_task(crash_and_start(server))
    assert crash is not None
    await crash

    async def nothing_is_left() -> bool:
        await consumer.ack(await fetch(consumer))  # what the server forgot to have been settled it offers again
        return (await bus.stream_state(SEND)).messages == 0

    await given.eventually(nothing_is_left, CONSOLE.ack_wait_s + 20)


async def test_a_reader_goes_on_after_the_crash(server: NatsServer, crashing_bus: JetStreamBus, given: Any) -> None:
    await crashing_bus.publish(given.signals(1_500))
    reader = crashing_bus.reader(SIGNALS, after=0)
    first = await reader.through(700)
    reading = asyncio.create_task(reader.through(1_500))
    await crash_and_start(server)
    async with asyncio.timeout(20):
        rest = await reading
    assert [message.seq for message in first + rest] == list(range(1, 1_501))


async def test_a_watch_sees_what_was_written_after_the_crash(server: NatsServer, crashing_bus: JetStreamBus) -> None:
    bucket = crashing_bus.bucket(ALERT_RULES)
    await bucket.put("before", b"1")
    async with asyncio.timeout(20), aclosing(bucket.watch()) as watch:  # type: ignore[type-var]
        assert (await anext(watch)).key == "before"
        await crash_and_start(server)
        await bucket.put("after", b"1")
        assert (await anext(watch)).key == "after"


async def test_readiness_says_that_the_server_is_away_and_recovers(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    assert await crashing_bus.problem() is None
    await server.kill()

    async def away() -> bool:
        return "not connected" in (await crashing_bus.problem() or "")

    await given.eventually(away)
    await server.start()

    async def well() -> bool:
        return await crashing_bus.problem() is None

    await given.eventually(well, 10)


async def test_a_graceful_stop_of_the_server_is_no_end(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    await crashing_bus.publish(given.marks(3))
    await server.stop()
    publishing = asyncio.create_task(crashing_bus.publish(given.marks(3, start=4)))
    await server.start()
    async with asyncio.timeout(20):
        await publishing
    assert (await crashing_bus.stream_state(CLOCK)).last_seq == 6


async def test_a_connection_that_the_client_gave_up_is_made_anew(crashing_bus: JetStreamBus, given: Any) -> None:
    """nats-py closes for good when the server names certain errors."""
    await crashing_bus.publish(given.marks(2))
    consumer = crashing_bus.consumer(PAPER_TRADER)
    first = await consumer.fetch(1, 5)
    await crashing_bus.connection._client.close()
    async with asyncio.timeout(10):
        await crashing_bus.publish([given.mark(3)])
        rest = await fetch(consumer)
        while len(rest) < 2:
            rest += await fetch(consumer)
    assert [message.seq for message in first + rest] == [1, 2, 3]


async def test_a_server_that_is_frozen_for_a_while_is_heard_again(
    server: NatsServer, crashing_bus: JetStreamBus, given: Any
) -> None:
    await crashing_bus.publish(given.marks(2))
    consumer = crashing_bus.consumer(PAPER_TRADER)
    taken = await consumer.fetch(2, 5)
    os.kill(server.pid, signal.SIGSTOP)
    assert await fetch(consumer) == []
    publishing = asyncio.create_task(crashing_bus.publish(given.marks(2, start=3)))
    assert await fetch(consumer) == []
    os.kill(server.pid, signal.SIGCONT)
    async with asyncio.timeout(20):
        await publishing
        while len(taken) < 4:
            taken += await fetch(consumer)
    assert [message.seq for message in taken] == [1, 2, 3, 4]
