"""A test that somebody asks for is a real alert with real deliveries, once, and only where somebody may be told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.managed import ANN, BOB, NOW_MS, OPERATOR, Managed

from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.errors import Rejected
from tocsin_common.events import AlertRaised, DeliveryChanged, SendDue
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import DeliveriesRequest, SendTestRequest, WhyRequest
from tocsin_common.streams import ALERTS, DELIVERIES, SEND, SUBSCRIBERS

CHAT = Destination(channel="telegram", address="123456789")
MAIL = Destination(channel="email", address="ann@example.org")
ANN_DOCUMENT = Subscriber(subscriber_id="ann", name="Ann", destinations=[CHAT, MAIL], muted_until_ms=2**60)


async def with_ann(bus: Bus, document: Subscriber = ANN_DOCUMENT) -> Managed:
    await bus.bucket(SUBSCRIBERS).put("ann", encode(document))
    return await Managed.on(bus)


async def a_test_is_an_alert(bus: Bus) -> None:
    found = await with_ann(bus)
    async with found.served():
        reply = await bus.request(asked.SEND_TEST, SendTestRequest(actor=ANN, subscriber_id="ann"))
        again = await bus.request(asked.SEND_TEST, SendTestRequest(actor=OPERATOR, subscriber_id="ann"))
        assert again == reply
        assert [one.channel for one in reply.deliveries] == ["telegram", "email"]
        log = await bus.request(asked.DELIVERY_LOG, DeliveriesRequest(actor=ANN))
        why = await bus.request(asked.WHY, WhyRequest(actor=ANN, id=reply.alert_id))
    [alert] = [message.event() for message in await bus.reader(ALERTS, after=0).through(9)]
    assert isinstance(alert, AlertRaised)
    assert (alert.kind, alert.rule_id, alert.subscribers, alert.ts_ms) == ("test", "", ["ann"], NOW_MS)
    due = [message.event() for message in await bus.reader(SEND, after=0).through(9)]
    assert [one.delivery_id for one in due if isinstance(one, SendDue)] == [one.delivery_id for one in reply.deliveries]
    assert [(one.seq, one.change.state) for one in log.items] == [(2, "queued"), (1, "queued")]
    assert why.about == "A test of your alerts"
    assert why.verdicts[0].outcome == "under_way"


async def test_a_test_is_an_alert_in_memory(memory_bus: MemoryBus) -> None:
    await a_test_is_an_alert(memory_bus)


async def test_a_test_is_an_alert_over_nats(jetstream_bus: JetStreamBus) -> None:
    await a_test_is_an_alert(jetstream_bus)


async def test_one_channel_can_be_tried(memory_bus: MemoryBus) -> None:
    found = await with_ann(memory_bus)
    reply = await found.trials.send(SendTestRequest(actor=ANN, subscriber_id="ann", channel="email"))
    assert [one.channel for one in reply.deliveries] == ["email"]


@pytest.mark.parametrize(
    ("change", "actor", "problem"),
    [
        ({}, BOB, "not_found: there is no subscriber 'ann'"),
        ({"enabled": False}, ANN, "invalid: the subscriber 'ann' is switched off"),
        ({"destinations": []}, ANN, "invalid: 'ann' has no destination on any channel"),
        ({"destinations": [replace(CHAT, verified=False)]}, OPERATOR, "verified and switched on"),
        ({"destinations": [replace(CHAT, enabled=False)]}, OPERATOR, "verified and switched on"),
    ],
)
async def test_nothing_is_sent_where_nothing_may_go(
    memory_bus: MemoryBus, change: dict[str, Any], actor: asked.Actor, problem: str
) -> None:
    found = await with_ann(memory_bus, replace(ANN_DOCUMENT, **change))
    with pytest.raises(Rejected, match=problem):
        await found.trials.send(SendTestRequest(actor=actor, subscriber_id="ann"))
    assert (await memory_bus.stream_state(ALERTS)).messages == 0


def step(number: int, who: str) -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id=f"d{number}",
        alert_id=f"a{number % 3}",
        subscriber_id=who,
        channel="email",
        state="sent",
        attempt=1,
        at_ms=number,
    )


async def test_the_log_of_deliveries_is_walked_backwards_page_by_page(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([step(number, "ann" if number % 2 else "bob") for number in range(20)])
    memory_bus.store_raw(DELIVERIES, "deliveries.email.x", b"garbage")
    found = await with_ann(memory_bus)
    async with found.served():
        seen, before = [], 0
        while True:
            question = DeliveriesRequest(actor=ANN, before=before, limit=3)
            page = await memory_bus.request(asked.DELIVERY_LOG, question)
            seen += [one.change.at_ms for one in page.items]
            if page.next_before is None:
                break
            before = page.next_before
        assert seen == list(range(19, 0, -2))
        of_alert = DeliveriesRequest(actor=OPERATOR, alert_id="a1", subscriber_id="bob")
        page = await memory_bus.request(asked.DELIVERY_LOG, of_alert)
        assert [one.change.at_ms for one in page.items] == [16, 10, 4]
        with pytest.raises(Rejected, match="not_found"):
            await memory_bus.request(asked.DELIVERY_LOG, DeliveriesRequest(actor=ANN, subscriber_id="bob"))
