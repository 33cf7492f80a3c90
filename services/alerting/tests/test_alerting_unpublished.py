"""Rules that can never ring, because nobody publishes what they look at: it is said, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.managed import NOW_MS

from alerting.directory import Directory
from alerting.metrics import Metrics
from alerting.sending.opener import Opener
from alerting.unpublished import Unpublished, missing
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, IndicatorRule, Subscriber
from tocsin_common.events import AlertRaised, AlertSuppressed, DeliveryChanged, IndicatorsOffered, SendDue
from tocsin_common.streams import ALERTS, DELIVERIES, SEND

OFFER = IndicatorsOffered(columns=["rsi_14", "ema_200"], timeframes=["15m", "1h"], at_ms=5)


def a_rule(**given: Any) -> IndicatorRule:
    fields = {"rule_id": "i", "name": "i", "subscribers": [], "left": "rsi_14", "operator": "below", "right": 30.0}
    return IndicatorRule(**{**fields, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ""),
        ({"left": "close", "right": "ema_200", "timeframes": ["1h", "4h"]}, ""),
        ({"left": "ema_20"}, "add ema_20 to signal_engine.indicators"),
        ({"left": "ema_20", "right": "ema_50"}, "add ema_20, ema_50 to signal_engine.indicators"),
        ({"timeframes": ["4h", "1d"]}, "add 4h / 1d to signal_engine.timeframes"),
    ],
)
def test_what_is_missing_is_said_as_what_to_do(given: dict[str, Any], said: str) -> None:
    assert missing(a_rule(**given), OFFER) == said


def test_without_any_column_not_even_closes_are_published() -> None:
    offer = msgspec.structs.replace(OFFER, columns=[])
    assert missing(a_rule(left="close"), offer).startswith("add a column to signal_engine.indicators")


class Looking:
    """One life of the watch over rules."""

    def __init__(
        self, bus: MemoryBus, *rules: IndicatorRule, revision: int = 1, subscribers: Sequence[Subscriber] = ()
    ) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        directory = Directory(bus, metrics)
        for rule in rules:
            directory.rules.put(rule, revision)
        directory.subscribers.update({one.subscriber_id: one for one in subscribers})
        opener = Opener(bus, directory, metrics, ttl_s=60, clock_ms=lambda: NOW_MS)
        self.unpublished = Unpublished(bus, opener, metrics)

    async def look(self) -> float | None:
        """Look; how many rules cannot ring."""
        await self.unpublished.look()
        return self.registry.get_sample_value("alerting_rules_unpublished")


async def stated(bus: MemoryBus) -> list[AlertSuppressed]:
    last = (await bus.stream_state(ALERTS)).last_seq
    found = [message.event() for message in await bus.reader(ALERTS, after=0).through(last)]
    return [event for event in found if isinstance(event, AlertSuppressed)]


async def test_nothing_is_said_before_it_is_known_what_is_published(memory_bus: MemoryBus) -> None:
    assert await Looking(memory_bus, a_rule(left="ema_20")).look() == 0
    assert await stated(memory_bus) == []


async def test_a_rule_that_cannot_ring_is_stated_once_for_each_writing(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    broken, well = a_rule(left="ema_20"), a_rule(rule_id="well")
    first = Looking(memory_bus, broken, well)
    assert [await first.look(), await first.look()] == [1, 1]
    memory_bus._log(ALERTS).ids.clear()  # the server's duplicate window is over
    assert await Looking(memory_bus, broken, well).look() == 1
    await Looking(memory_bus, broken, revision=2).look()
    found = await stated(memory_bus)
    assert [(one.rule_id, one.reason, one.rule_revision) for one in found] == [
        ("i", "not_published", 1),
        ("i", "not_published", 2),
    ]
    assert found[0].detail == "add ema_20 to signal_engine.indicators"


async def test_what_was_added_since_counts_no_more(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    looking = Looking(memory_bus, a_rule(left="ema_20"))
    assert await looking.look() == 1
    await memory_bus.publish([msgspec.structs.replace(OFFER, columns=["ema_20"], at_ms=6)])
    assert await looking.look() == 0


BELL = Destination(channel="console", address="x")
ANN = Subscriber(subscriber_id="ann", name="Ann", destinations=[BELL], language="id")
BOB = Subscriber(subscriber_id="bob", name="Bob", destinations=[BELL])
ANNS = a_rule(left="ema_20", name="Tren", owner="ann", subscribers=["ann", "bob"])


async def sent(bus: MemoryBus) -> list[SendDue]:
    last = (await bus.stream_state(SEND)).last_seq
    found = [message.event() for message in await bus.reader(SEND, after=0).through(last)]
    return [event for event in found if isinstance(event, SendDue)]


async def test_its_owner_is_told_once_in_their_language(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    for _ in range(2):
        life = Looking(memory_bus, ANNS, subscribers=[ANN, BOB])
        await life.look()
        await life.look()
        for stream in (ALERTS, DELIVERIES, SEND):
            memory_bus._log(stream).ids.clear()  # the server's duplicate window is over
    [due] = await sent(memory_bus)
    assert (due.subscriber_id, due.title, due.kind) == ("ann", "Aturan Anda 'Tren' tidak bisa berbunyi", "notice")
    assert due.text.endswith("ubah aturannya: tambahkan ema_20 ke signal_engine.indicators.")
    await Looking(memory_bus, ANNS, revision=2, subscribers=[ANN, BOB]).look()
    assert len(await sent(memory_bus)) == 2


async def test_of_a_rule_without_an_owner_those_who_wait_for_it_are_told(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    await Looking(memory_bus, replace(ANNS, owner="gone"), subscribers=[ANN, BOB]).look()
    assert {due.subscriber_id: due.title for due in await sent(memory_bus)} == {
        "ann": "Aturan Anda 'Tren' tidak bisa berbunyi",
        "bob": "Your rule 'Tren' cannot ring",
    }


async def test_who_does_not_listen_now_is_told_when_they_do(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    muted = replace(ANN, muted_until_ms=NOW_MS + 1)
    life = Looking(memory_bus, ANNS, subscribers=[muted])
    await life.look()
    assert await sent(memory_bus) == []
    await Looking(memory_bus, ANNS, subscribers=[ANN]).look()
    assert len(await sent(memory_bus)) == 1


async def test_a_crash_between_the_statement_and_its_deliveries_is_mended(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([OFFER])
    await Looking(memory_bus, ANNS, subscribers=[ANN]).look()
    for stream in (DELIVERIES, SEND):
        memory_bus.purge(stream, before=2)
        memory_bus._log(stream).ids.clear()
    await Looking(memory_bus, ANNS, subscribers=[ANN]).look()
    assert len(await sent(memory_bus)) == 1
    last = (await memory_bus.stream_state(ALERTS)).last_seq
    alerts = [message.event() for message in await memory_bus.reader(ALERTS, after=0).through(last)]
    assert [type(one) for one in alerts] == [AlertSuppressed, AlertRaised]
    ledger = await memory_bus.page(DELIVERIES, "deliveries.>")
    assert [isinstance(message.event(), DeliveryChanged) for message in ledger] == [True]
