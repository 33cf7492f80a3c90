"""Publishing: order, receipts, identity, conflicts, partitions. Every bus passes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tocsin_common import subjects
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.config import NatsSection
from tocsin_common.errors import Conflict
from tocsin_common.streams import CLOCK, DELIVERIES, SIGNALS, TRADES


async def test_receipts_carry_consecutive_sequences_in_the_order_given(bus: Bus, given: Any) -> None:
    stored = await bus.publish(given.signals(1_200))
    assert [receipt.seq for receipt in stored] == list(range(1, 1_201))
    read = await bus.reader(SIGNALS, after=0).through(1_200)
    assert [message.event() for message in read] == given.signals(1_200)
    assert [message.seq for message in read] == list(range(1, 1_201))


async def test_publishes_to_several_streams_keep_the_order_within_each(bus: Bus, given: Any) -> None:
    stored = await bus.publish([given.mark(1), given.signal(1), given.mark(2), given.mark(3), given.signal(2)])
    assert [(receipt.stream, receipt.seq) for receipt in stored] == [
        ("CLOCK", 1),
        ("SIGNALS", 1),
        ("CLOCK", 2),
        ("CLOCK", 3),
        ("SIGNALS", 2),
    ]


async def test_an_empty_list_publishes_nothing(bus: Bus) -> None:
    assert await bus.publish([]) == []


@pytest.mark.parametrize("kind", ["signals", "marks"])
async def test_an_event_published_twice_is_stored_once_and_answers_with_the_first_sequence(
    bus: Bus, given: Any, kind: str
) -> None:
    make = getattr(given, kind)
    stream = {"signals": SIGNALS, "marks": CLOCK}[kind]
    await bus.publish(make(5))
    again = await bus.publish(make(8))
    assert [receipt.seq for receipt in again] == list(range(1, 9))
    assert all(receipt.duplicate for receipt in again[:5])
    assert kind == "marks" or not any(receipt.duplicate for receipt in again[5:])
    assert (await bus.stream_state(stream)).messages == 8


async def test_duplicates_in_the_middle_do_not_disturb_the_order_of_the_others(bus: Bus, given: Any) -> None:
    await bus.publish([given.mark(3), given.mark(99)])
    stored = await bus.publish(given.marks(5))
    assert [receipt.seq for receipt in stored] == [3, 4, 1, 5, 6]
    read = await bus.reader(CLOCK, after=0).through(100)
    assert [message.event() for message in read] == [given.mark(n) for n in (3, 99, 1, 2, 4, 5)]


async def test_every_receipt_names_the_sequence_of_its_event_though_others_write_beside(bus: Bus, given: Any) -> None:
    writers = [given.marks(200)[first::4] for first in range(4)]
    stored = await asyncio.gather(*(bus.publish(events) for events in writers))
    read = {message.seq: message.event() for message in await bus.reader(CLOCK, after=0).through(1_000)}
    assert len(read) == 200
    for events, receipts in zip(writers, stored, strict=True):
        assert [read[receipt.seq] for receipt in receipts] == events


async def test_the_same_event_twice_in_one_list_is_stored_once(bus: Bus, given: Any) -> None:
    stored = await bus.publish([given.signal(1), given.signal(2), given.signal(1)])
    assert stored[2] == Stored("SIGNALS", 1, duplicate=True)
    assert (await bus.stream_state(SIGNALS)).last_seq == 2


async def test_append_stores_when_the_last_sequence_of_the_subject_holds(bus: Bus, given: Any) -> None:
    first = await bus.append(given.delivery(1), expected_last=0)
    await bus.append(given.delivery(2), expected_last=0)
    second = await bus.append(given.delivery(1, attempt=1), expected_last=first.seq)
    assert (first.seq, second.seq) == (1, 3)


async def test_append_conflicts_when_somebody_else_wrote_first(bus: Bus, given: Any) -> None:
    await bus.append(given.delivery(1), expected_last=0)
    with pytest.raises(Conflict):
        await bus.append(given.delivery(1, attempt=1), expected_last=0)
    assert (await bus.stream_state(DELIVERIES)).messages == 1


async def test_append_done_twice_is_our_own_earlier_success(bus: Bus, given: Any) -> None:
    first = await bus.append(given.delivery(1), expected_last=0)
    await bus.append(given.delivery(1, attempt=1), expected_last=first.seq)
    assert await bus.append(given.delivery(1), expected_last=0) == Stored("DELIVERIES", first.seq, duplicate=True)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT", "1000PEPE/USDT", "ÄÖ/€ U"])
async def test_the_stored_subject_carries_the_partition_of_the_instrument(bus: Bus, given: Any, symbol: str) -> None:
    await bus.publish([given.trades(symbol)])
    stored = await bus.last(TRADES, "market.trades.>")
    assert stored is not None
    partition = subjects.partition_of("binance", symbol)
    assert stored.subject == f"market.trades.{partition}.binance.{subjects.encode_token(symbol)}"
    assert stored.event() == given.trades(symbol)


async def test_of_many_writers_at_once_only_the_one_with_a_stale_view_is_refused(bus: Bus, given: Any) -> None:
    fresh = [given.delivery(n) for n in range(40)]
    await bus.append(given.delivery(99), expected_last=0)
    writes = [bus.append(event, expected_last=0) for event in fresh]
    writes.insert(20, bus.append(given.delivery(99, attempt=1), expected_last=0))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results.pop(20), Conflict)
    stored = [result for result in results if isinstance(result, Stored)]
    assert sorted(receipt.seq for receipt in stored) == list(range(2, 42))
    by_seq = {message.seq: message.event() for message in await bus.reader(DELIVERIES, after=0).through(41)}
    assert [by_seq[receipt.seq] for receipt in stored] == fresh


async def test_writers_on_several_connections_each_keep_their_order_whatever_the_size_of_their_lists(
    jetstream_bus: JetStreamBus, nats_url: str, given: Any
) -> None:
    other = JetStreamBus(await Connection.open(NatsSection(url=nats_url), name="other"))
    lists = [given.signals(length, start=1 + 100 * length) for length in (1, 2, 3, 5, 8, 12, 13, 40)]
    try:
        receipts = await asyncio.gather(
            *((jetstream_bus, other)[at % 2].publish(events) for at, events in enumerate(lists))
        )
    finally:
        await other.close()
    read = await jetstream_bus.reader(SIGNALS, after=0).through(84)
    by_seq = {message.seq: message.event() for message in read}
    for events, stored in zip(lists, receipts, strict=True):
        assert [by_seq[receipt.seq] for receipt in stored] == events
        assert sorted(receipt.seq for receipt in stored) == [receipt.seq for receipt in stored]


async def test_headers_arrive_as_they_were_and_none_smuggles_in_another(jetstream_bus: JetStreamBus) -> None:
    connection, heard = jetstream_bus.connection, asyncio.Queue[Any]()
    subject = connection.new_inbox()
    subscription = await connection.subscribe(subject, heard.put)
    for value in ("plain: and 'quoted', é", "two\r\nInjected: lines"):
        await connection.send(subject, b"data", headers={"First": value, "Second": "2"})
    found = [(await asyncio.wait_for(heard.get(), 10)).headers for _ in range(2)]
    assert found[0] == {"First": "plain: and 'quoted', é", "Second": "2"}
    assert found[1].keys() == {"First", "Second"}
    await connection.unsubscribe(subscription)
