"""Reading from a position of one's own. Every bus passes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from tocsin_common.bus.lookups import AT_A_TIME, last_of
from tocsin_common.bus.protocol import Bus
from tocsin_common.streams import CANDLES, CLOCK, SIGNALS, TRADES, Stream

Purge = Callable[[Stream, int], Awaitable[None]]


async def test_reads_what_follows_a_sequence_and_goes_on_from_there(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(6))
    reader = bus.reader(CLOCK, after=2)
    assert [message.seq for message in await reader.through(4)] == [3, 4]
    assert [message.seq for message in await reader.through(4)] == []
    assert [message.seq for message in await reader.through(6)] == [5, 6]


async def test_a_message_comes_with_its_id_subject_and_the_servers_time(bus: Bus, given: Any) -> None:
    await bus.publish([given.mark(1)])
    [message] = await bus.reader(CLOCK, after=0).through(1)
    assert message.message_id == given.mark(1).event_id
    assert (message.stream, message.subject, message.deliveries) == ("CLOCK", "clock.signals", 1)
    assert message.stored_ms > 1_600_000_000_000
    assert message == await bus.last(CLOCK, "clock.signals")


async def test_reads_many_pages(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(2_500))
    read = await bus.reader(CLOCK, after=0).through(2_500)
    assert [message.seq for message in read] == list(range(1, 2_501))


async def test_what_does_not_exist_yet_is_not_waited_for_and_read_later(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(2))
    reader = bus.reader(CLOCK, after=0)
    assert [message.seq for message in await reader.through(10)] == [1, 2]
    await bus.publish(given.marks(2, start=3))
    assert [message.seq for message in await reader.through(10)] == [3, 4]


async def test_skips_what_retention_removed_before_the_position_sought(bus: Bus, given: Any, purge: Purge) -> None:
    await bus.publish(given.marks(10))
    await purge(CLOCK, 5)
    assert [message.seq for message in await bus.reader(CLOCK, after=0).through(7)] == [5, 6, 7]


async def test_a_range_that_was_removed_entirely_is_empty(bus: Bus, given: Any, purge: Purge) -> None:
    await bus.publish(given.marks(10))
    await purge(CLOCK, 9)
    reader = bus.reader(CLOCK, after=0)
    assert await reader.through(4) == []
    assert [message.seq for message in await reader.through(10)] == [9, 10]


async def test_a_stream_that_was_purged_to_the_end_is_empty(bus: Bus, given: Any, purge: Purge) -> None:
    await bus.publish(given.marks(3))
    await purge(CLOCK, 4)
    reader = bus.reader(CLOCK, after=0)
    assert await reader.through(3) == []
    await bus.publish([given.mark(4)])
    assert [message.seq for message in await reader.through(4)] == [4]


async def test_an_empty_stream_reads_as_nothing(bus: Bus) -> None:
    assert await bus.reader(CANDLES, after=0).through(5) == []
    assert await bus.reader(CANDLES, after=0).through(0) == []


async def test_last_finds_the_newest_on_a_subject_or_under_a_wildcard(bus: Bus, given: Any) -> None:
    await bus.publish([given.signal(1), given.signal(2, symbol="ETH/USDT"), given.signal(3), given.signal(4)])
    eth = await bus.last(SIGNALS, given.signal(2, symbol="ETH/USDT").subject)
    newest = await bus.last(SIGNALS, "signals.*.*.1m.>")
    assert eth is not None
    assert newest is not None
    assert (eth.seq, newest.seq) == (2, 4)


async def test_last_is_none_where_nothing_was_stored(bus: Bus) -> None:
    assert await bus.last(SIGNALS, "signals.>") is None


async def test_the_state_of_a_stream_counts_its_messages(bus: Bus, given: Any, purge: Purge) -> None:
    await bus.publish(given.marks(10))
    await purge(CLOCK, 4)
    state = await bus.stream_state(CLOCK)
    assert (state.messages, state.first_seq, state.last_seq) == (7, 4, 10)
    assert state.bytes > 0
    assert state.identity == (await bus.stream_state(CLOCK)).identity


async def test_a_page_holds_what_is_on_one_subject(bus: Bus, given: Any) -> None:
    await bus.publish([given.trades(symbol, n) for n in range(1, 6) for symbol in ("BTC/USDT", "ETH/USDT")])
    eth = "market.trades.*.binance.ETH-USDT"
    assert [message.seq for message in await bus.page(TRADES, eth, limit=3)] == [2, 4, 6]
    assert [message.seq for message in await bus.page(TRADES, eth, after=6, limit=3)] == [8, 10]
    assert await bus.page(TRADES, eth, after=10) == []
    assert await bus.page(TRADES, "market.trades.*.binance.XRP-USDT") == []


async def test_a_page_begins_at_a_time_of_storing(bus: Bus, given: Any) -> None:
    await bus.publish(given.marks(3))
    third = await bus.last(CLOCK, "clock.signals")
    assert third is not None

    async def is_later() -> bool:
        return time.time_ns() // 1_000_000 > third.stored_ms

    await given.eventually(is_later)
    await bus.publish(given.marks(2, start=4))
    fourth = (await bus.page(CLOCK, "clock.signals", after=3, limit=1))[0]
    assert [message.seq for message in await bus.page(CLOCK, "clock.*", since_ms=fourth.stored_ms)] == [4, 5]
    assert len(await bus.page(CLOCK, "clock.*", since_ms=1)) == 5
    assert await bus.page(CLOCK, "clock.*", since_ms=fourth.stored_ms + 60_000) == []


async def test_the_last_messages_of_many_subjects_come_in_the_order_asked(bus: Bus, given: Any) -> None:
    await bus.publish([given.signal(1), given.signal(2), given.mark(1)])
    subjects = {number: f"none.{number}" for number in range(AT_A_TIME + 3)}
    subjects |= {"mark": "clock.signals", "signal": given.signal(1).subject}
    found = [(key, message and message.seq) async for key, message in last_of(bus, CLOCK, subjects)]
    assert found == [*((number, None) for number in range(AT_A_TIME + 3)), ("mark", 1), ("signal", None)]
