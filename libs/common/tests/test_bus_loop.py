"""The consume loop's settle rules, on every bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tocsin_common.bus import consume
from tocsin_common.bus.consume import Incoming, Loop, consume_in_order, consume_queue
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Rejected, Retryable, Unreachable
from tocsin_common.events import ClockAdvanced, DeadLetter, Event, SendDue, encode
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import ALERTING_SEND, CLOCK, DEAD, DELIVERIES, PAPER_TRADER, SEND, SIGNALS, Durable, Stream

CONSOLE = ALERTING_SEND["console", "info"]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(consume, "FETCH_WAIT_S", 0.2)


class Running:
    """A loop at work: what it handled, and its counters."""

    def __init__(self, bus: Bus, durable: Durable) -> None:
        self.bus = bus
        self.registry = CollectorRegistry()
        metrics = BusMetrics(self.registry).loop(durable.name)
        self.loop = Loop(bus, bus.consumer(durable), "tester", asyncio.Event(), metrics)
        self.handled: list[int] = []

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(60):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.005)

    async def until_handled(self, numbers: Sequence[int]) -> None:
        async def done() -> bool:
            return len(self.handled) >= len(numbers)

        await self.until(done)
        assert self.handled == list(numbers)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"tocsin_messages_{name}_total", labels) or 0

    async def dead(self) -> list[DeadLetter]:
        end = (await self.bus.stream_state(DEAD)).last_seq
        letters = [message.event() for message in await self.bus.reader(DEAD, after=0).through(end)]
        return [letter for letter in letters if isinstance(letter, DeadLetter)]


@asynccontextmanager
async def running(bus: Bus, durable: Durable, handle: Any, **options: int) -> AsyncIterator[Running]:
    run = Running(bus, durable)
    consume_with = consume_queue if durable.stream is SEND else consume_in_order

    async def handle_and_note(incoming: Any) -> Sequence[Event]:
        result: Sequence[Event] = await handle(incoming)
        run.handled += [item.message.seq for item in (incoming if isinstance(incoming, list) else [incoming])]
        return result

    task = asyncio.create_task(consume_with(run.loop, handle_and_note, **options))
    try:
        yield run
    finally:
        run.loop.stop.set()
        async with asyncio.timeout(5):
            await task
        await run.loop.consumer.close()


async def nothing(_incoming: object) -> Sequence[Event]:
    return []


async def store_raw(bus: Bus, stream: Stream, subject: str, data: bytes) -> None:
    """Put bytes that are no event on a stream, as a stranger would."""
    if isinstance(bus, JetStreamBus):
        await bus.connection.request(subject, data)
    elif isinstance(bus, MemoryBus):
        bus.store_raw(stream, subject, data)


async def test_handles_in_order_publishes_the_result_and_acknowledges(bus: Bus, given: Any) -> None:
    async def follow(incoming: Sequence[Incoming]) -> Sequence[Event]:
        marks = [item.event for item in incoming]
        return [given.signal(mark.time_ms) for mark in marks if isinstance(mark, ClockAdvanced)]

    await bus.publish(given.marks(20))
    async with running(bus, PAPER_TRADER, follow, batch=7) as run:
        await run.until_handled(range(1, 21))
        await run.until(lambda: settled(bus, PAPER_TRADER))
        assert run.count("handled", durable="paper-trader") == 20
    last = await bus.last(SIGNALS, "signals.>")
    assert last is not None
    assert (last.seq, last.event()) == (20, given.signal(20))


async def settled(bus: Bus, durable: Durable) -> bool:
    """Whether everything stored is acknowledged: the server learns of what is pending a moment after it is stored."""
    state, stored = await bus.durable_state(durable), await bus.stream_state(durable.stream)
    return (state.pending, state.ack_pending, state.ack_floor_seq) == (0, 0, stored.last_seq)


@pytest.mark.parametrize("durable", [PAPER_TRADER, CONSOLE], ids=["in-order", "queue"])
async def test_malformed_input_goes_to_the_dead_letters_and_its_neighbours_are_unharmed(
    bus: Bus, given: Any, durable: Durable
) -> None:
    make = given.mark if durable is PAPER_TRADER else given.send
    subject = make(1).subject
    await bus.publish([make(1)])
    await store_raw(bus, durable.stream, subject, b'{"type":"clock.v1","stage":"noon"}')
    await bus.publish([make(3)])
    async with running(bus, durable, nothing) as run:
        await run.until(lambda: settled(bus, durable))
        assert sorted(run.handled) == [1, 3]
        [letter] = await run.dead()
        assert (letter.service, letter.stream, letter.seq, letter.reason) == (
            "tester",
            durable.stream.name,
            2,
            "malformed",
        )
        assert letter.payload == b'{"type":"clock.v1","stage":"noon"}'
        assert letter.original_subject == subject
        assert run.count("dead", durable=durable.name, reason="malformed") == 1


@pytest.mark.parametrize("durable", [PAPER_TRADER, CONSOLE], ids=["in-order", "queue"])
async def test_rejected_input_goes_to_the_dead_letters_with_its_reason(bus: Bus, given: Any, durable: Durable) -> None:
    make = given.mark if durable is PAPER_TRADER else given.send

    async def reject_the_second(incoming: Any) -> Sequence[Event]:
        for item in incoming if isinstance(incoming, list) else [incoming]:
            if item.message.seq == 2:
                raise Rejected("unknown_symbol", "XYZ")
        return []

    await bus.publish([make(1), make(2), make(3)])
    async with running(bus, durable, reject_the_second) as run:
        await run.until(lambda: settled(bus, durable))
        assert sorted(run.handled) == [1, 3]
        [letter] = await run.dead()
        assert (letter.seq, letter.reason, letter.payload) == (2, "unknown_symbol", encode(make(2)))


async def test_in_order_a_passing_failure_waits_in_place(bus: Bus, given: Any) -> None:
    tries: list[list[int]] = []

    async def fail_twice(incoming: Sequence[Incoming]) -> Sequence[Event]:
        tries.append([item.message.seq for item in incoming])
        if len(tries) <= 2:
            raise Retryable("busy", retry_after_s=0.01)
        return []

    await bus.publish(given.marks(6))
    async with running(bus, PAPER_TRADER, fail_twice, batch=3) as run:
        await run.until_handled(range(1, 7))
    assert tries == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [4, 5, 6]]
    assert run.count("retried", durable="paper-trader") == 6
    assert await run.dead() == []


async def test_on_a_queue_a_passing_failure_lets_others_overtake(bus: Bus, given: Any) -> None:
    tries: list[int] = []

    async def first_fails_once(incoming: Incoming) -> Sequence[Event]:
        tries.append(incoming.message.seq)
        if tries.count(1) == 1 and incoming.message.seq == 1:
            raise Retryable("rate_limited", retry_after_s=0.1)
        return []

    await bus.publish([given.send(n) for n in (1, 2, 3)])
    async with running(bus, CONSOLE, first_fails_once) as run:
        await run.until(lambda: settled(bus, CONSOLE))
    assert sorted(run.handled) == [1, 2, 3]
    assert tries[-1] == 1


@pytest.mark.parametrize("durable", [PAPER_TRADER, CONSOLE], ids=["in-order", "queue"])
async def test_a_bug_of_ours_is_tried_a_bounded_number_of_times_and_spares_its_neighbours(
    bus: Bus, given: Any, durable: Durable
) -> None:
    make = given.mark if durable is PAPER_TRADER else given.send
    tries: list[int] = []

    async def stumble(incoming: Any) -> Sequence[Event]:
        items = incoming if isinstance(incoming, list) else [incoming]
        if any(item.message.seq == 2 for item in items):
            if len(items) == 1:
                tries.append(2)
            raise ZeroDivisionError("a bug")
        return []

    await bus.publish([make(1), make(2), make(3)])
    async with running(bus, durable, stumble) as run:
        await run.until(lambda: settled(bus, durable))
        assert sorted(run.handled) == [1, 3]
        assert len(tries) == consume.MAX_ATTEMPTS
        [letter] = await run.dead()
        assert (letter.seq, letter.reason, letter.error) == (2, "bug", "ZeroDivisionError: a bug")


async def test_a_crash_between_publish_and_acknowledgement_stores_nothing_twice(bus: Bus, given: Any) -> None:
    async def follow(incoming: Sequence[Incoming]) -> Sequence[Event]:
        return [given.signal(item.event.time_ms) for item in incoming if isinstance(item.event, ClockAdvanced)]

    await bus.publish(given.marks(5))
    crashed = bus.consumer(PAPER_TRADER)
    taken = await crashed.fetch(3, 5)
    assert taken
    await bus.publish(await follow([Incoming(message.event(), message) for message in taken]))
    await crashed.close()
    async with running(bus, PAPER_TRADER, follow) as run:
        await run.until_handled(range(1, 6))
    assert (await bus.stream_state(SIGNALS)).messages == 5


async def test_a_queue_never_works_on_more_than_its_workers(bus: Bus, given: Any) -> None:
    at_work = 0
    most = 0

    async def work(_incoming: Incoming) -> Sequence[Event]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return []

    await bus.publish([given.send(n) for n in range(40)])
    async with running(bus, CONSOLE, work, workers=4) as run:
        await run.until(lambda: settled(bus, CONSOLE))
    assert 1 < most <= 4


async def test_stopping_finishes_what_is_in_hand(bus: Bus, given: Any) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(incoming: Incoming) -> Sequence[Event]:
        entered.set()
        await leave.wait()
        assert isinstance(incoming.event, SendDue)
        return [given.delivery(1)]

    await bus.publish([given.send(1)])
    async with running(bus, CONSOLE, slow) as run:
        await entered.wait()
        run.loop.stop.set()
        leave.set()
    assert await settled(bus, CONSOLE)
    assert run.handled == [1]


async def test_stopping_while_waiting_in_place_leaves_the_batch_for_the_next_one(bus: Bus, given: Any) -> None:
    failed = asyncio.Event()

    async def fail(_incoming: Sequence[Incoming]) -> Sequence[Event]:
        failed.set()
        raise Unreachable("database away")

    await bus.publish(given.marks(3))
    async with running(bus, PAPER_TRADER, fail):
        await failed.wait()
    async with running(bus, PAPER_TRADER, nothing) as run:
        await run.until_handled([1, 2, 3])


def trace_of(message: Received | None) -> str:
    assert message is not None
    version, trace, span, flags = message.traceparent.split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    return trace


async def test_what_a_handler_publishes_belongs_to_the_trace_of_what_it_handles(bus: Bus, given: Any) -> None:
    async def in_order(batch: Sequence[Incoming]) -> Sequence[Event]:
        return [given.signal(item.message.seq) for item in batch]

    async def queued(item: Incoming) -> Sequence[Event]:
        await bus.append(given.delivery(item.message.seq), expected_last=0)
        return []

    for number in (1, 2):
        await bus.publish([given.mark(number), given.send(number)])
    async with running(bus, PAPER_TRADER, in_order, batch=1) as run:
        await run.until_handled([1, 2])
    async with running(bus, CONSOLE, queued) as run:
        await run.until_handled([1, 2])
    causes = [trace_of(message) for message in await bus.reader(CLOCK, after=0).through(2)]
    assert len(set(causes)) == 2
    assert [trace_of(message) for message in await bus.reader(SIGNALS, after=0).through(2)] == causes
    assert {trace_of(message) for message in await bus.reader(DELIVERIES, after=0).through(2)} == set(causes)
    assert trace_of(await bus.last(SIGNALS, "signals.>")) == causes[-1]


async def test_insisting_calls_again_until_the_server_is_there_or_it_is_told_to_stop() -> None:
    stop, calls = asyncio.Event(), 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise Unreachable("nobody there")
        return "there"

    assert await consume.insist(stop, call, "ask") == "there"
    stop.set()
    with pytest.raises(Unreachable):
        await consume.insist(stop, call, "ask")
    assert calls == 3
