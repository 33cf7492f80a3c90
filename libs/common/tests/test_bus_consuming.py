"""Consuming durables: order, settling, starting over. Every bus passes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tocsin_common.bus.protocol import Bus, Consumer, DurableState, Received
from tocsin_common.streams import ALERTING_SEND, PAPER_TRADER, PROJECTOR, SEND, Durable

Declare = Callable[[Durable], Awaitable[Durable]]
CONSOLE = ALERTING_SEND["console", "info"]


def seqs(messages: list[Received]) -> list[int]:
    return [message.seq for message in messages]


async def take(consumer: Consumer, count: int) -> list[Received]:
    """The next `count` messages, in however many fetches; fewer when no more come."""
    found: list[Received] = []
    while len(found) < count and (more := await consumer.fetch(count - len(found), 5)):
        found += more
    return found


async def test_fetches_bounded_batches_in_order(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    consumer = bus.consumer(PAPER_TRADER)
    fetched: list[list[int]] = []
    while sum(map(len, fetched)) < 5:
        fetched.append(seqs(await consumer.fetch(3, 1)))
    assert [seq for batch in fetched for seq in batch] == [1, 2, 3, 4, 5]
    assert all(0 < len(batch) <= 3 for batch in fetched)


async def test_a_fetch_waits_for_the_first_message_but_not_for_a_full_batch(bus: Bus, given: Any) -> None:
    consumer = bus.consumer(PAPER_TRADER)
    assert await consumer.fetch(10, 0.05) == []
    await bus.publish([given.mark(1)])
    assert seqs(await consumer.fetch(10, 5)) == [1]


async def test_only_the_filtered_subjects_are_handed_out(bus: Bus, given: Any) -> None:
    await bus.publish([given.mark(1), replace_stage(given.mark(2)), given.mark(3)])
    assert seqs(await take(bus.consumer(PAPER_TRADER), 2)) == [1, 3]


def replace_stage(mark: Any) -> Any:
    return type(mark)(stage="market", source="test", time_ms=mark.time_ms, trades_seq=0, candles_seq=0)


async def test_a_new_consumer_starts_at_the_acknowledgement_floor_at_once_and_in_order(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(6))
    first = bus.consumer(PAPER_TRADER)
    taken = await take(first, 4)
    await first.ack([taken[0], taken[1], taken[3]])
    await first.close()
    assert seqs(await take(bus.consumer(PAPER_TRADER), 4)) == [3, 4, 5, 6]


async def test_what_is_acknowledged_moves_the_floor(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    consumer = bus.consumer(PAPER_TRADER)
    taken = await take(consumer, 5)
    await consumer.ack(taken[:3])
    await given.eventually(lambda: floor_is(bus, PAPER_TRADER, 3))
    assert await bus.durable_state(PAPER_TRADER) == DurableState(pending=0, ack_pending=2, ack_floor_seq=3)


async def floor_is(bus: Bus, durable: Durable, seq: int) -> bool:
    return (await bus.durable_state(durable)).ack_floor_seq == seq


async def test_reset_goes_back_to_the_floor_and_forgets_what_was_handed_out(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    consumer = bus.consumer(PAPER_TRADER)
    taken = await take(consumer, 4)
    await consumer.ack(taken[:2])
    await consumer.reset()
    assert seqs(await take(consumer, 3)) == [3, 4, 5]


async def test_reset_to_a_position_hands_out_what_follows_it_even_if_it_was_acknowledged(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    consumer = bus.consumer(PAPER_TRADER)
    await consumer.ack(await take(consumer, 5))
    await consumer.reset(after=1)
    assert seqs(await take(consumer, 4)) == [2, 3, 4, 5]
    await consumer.reset(after=4)
    assert seqs(await take(consumer, 1)) == [5]
    await consumer.reset(after=0)
    assert seqs(await take(consumer, 5)) == [1, 2, 3, 4, 5]


async def test_reset_to_the_end_hands_out_only_what_comes(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(5))
    consumer = bus.consumer(PAPER_TRADER)
    await consumer.reset(after=5)
    assert await consumer.fetch(10, 0.05) == []
    await bus.publish([given.mark(6)])
    assert seqs(await take(consumer, 1)) == [6]


async def test_a_consumer_goes_on_where_the_last_one_stopped(bus: Bus, given: Any) -> None:
    await bus.publish(given.signals(4))
    first = bus.consumer(PROJECTOR["SIGNALS"])
    await first.ack(await take(first, 4))
    await first.close()
    await bus.publish(given.signals(2, start=5))
    assert seqs(await take(bus.consumer(PROJECTOR["SIGNALS"]), 2)) == [5, 6]


async def test_a_message_given_back_comes_again_after_the_delay_and_counts(bus: Bus, given: Any) -> None:
    await bus.publish([given.send(1), given.send(2)])
    consumer = bus.consumer(CONSOLE)
    first, second = await take(consumer, 2)
    given_back_s = time.monotonic()
    await consumer.nak(first, 0.1)
    await consumer.ack([second])
    [again] = await consumer.fetch(2, 5)
    assert time.monotonic() - given_back_s >= 0.1
    assert (again.seq, again.deliveries) == (1, 2)


async def test_what_a_queue_acknowledged_or_terminated_is_gone(bus: Bus, given: Any) -> None:
    await bus.publish([given.send(1), given.send(2), given.send(3)])
    consumer = bus.consumer(CONSOLE)
    first, second, _ = await take(consumer, 3)
    await consumer.ack([first])
    await consumer.term(second)

    async def only_one_is_left() -> bool:
        return (await bus.stream_state(SEND)).messages == 1

    await given.eventually(only_one_is_left)


async def test_what_a_dead_worker_held_comes_again_after_the_ack_wait(bus: Bus, given: Any, declare: Declare) -> None:
    durable = await declare(replace(CONSOLE, ack_wait_s=1))
    await bus.publish([given.send(1)])
    worker = bus.consumer(durable)
    assert seqs(await worker.fetch(1, 1)) == [1]
    await worker.close()
    [again] = await bus.consumer(durable).fetch(1, 5)
    assert (again.seq, again.deliveries) == (1, 2)


async def test_what_a_worker_still_holds_is_not_handed_to_it_twice(bus: Bus, given: Any, declare: Declare) -> None:
    durable = await declare(replace(CONSOLE, ack_wait_s=1))
    await bus.publish([given.send(1)])
    worker = bus.consumer(durable)
    [message] = await worker.fetch(1, 1)
    await worker.in_progress([message])
    assert await worker.fetch(1, 1.5) == []
    await worker.ack([message])

    async def nothing_is_left() -> bool:
        return (await bus.stream_state(SEND)).messages == 0

    await given.eventually(nothing_is_left)


async def test_no_more_than_the_declared_limit_is_in_hand(bus: Bus, given: Any, declare: Declare) -> None:
    durable = await declare(replace(PAPER_TRADER, max_ack_pending=3))
    await bus.publish(given.marks(5))
    consumer = bus.consumer(durable)
    taken = await take(consumer, 3)
    assert seqs(taken) == [1, 2, 3]
    assert await consumer.fetch(10, 0.05) == []
    await consumer.ack(taken)
    assert seqs(await take(consumer, 2)) == [4, 5]


async def test_a_long_backlog_is_consumed_once_and_in_order(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(3_000))
    consumer = bus.consumer(PAPER_TRADER)
    handled: list[int] = []
    while len(handled) < 3_000:
        batch = await consumer.fetch(500, 5)
        assert batch
        handled += seqs(batch)
        await consumer.ack(batch)
    assert handled == list(range(1, 3_001))
