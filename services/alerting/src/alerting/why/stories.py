"""What is stored of an alert: that it was raised, who was spared it, and every step of its deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from alerting.pipeline import deliveries, delivery_id_of
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.documents import Subscriber
from tocsin_common.errors import Malformed
from tocsin_common.events import CHANNELS, AlertRaised, AlertSuppressed, AnyEvent, DeliveryChanged, Event
from tocsin_common.streams import DELIVERIES
from tocsin_common.subjects import delivery, encode_token

PLACES = 4
"""Destinations of one channel that are looked for even where the subscriber has them no more."""

MAX_STEPS = 1_000

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Stated(Generic[E]):
    """An event and the message that holds it."""

    message: Received
    event: E


@dataclass(slots=True)
class Story:
    """What was stated of one alert."""

    alert_id: str
    rule_id: str
    cause_id: str
    ts_ms: int = 0
    raised: Stated[AlertRaised] | None = None
    spared: list[Stated[AlertSuppressed]] = field(default_factory=list)

    def of_everybody(self) -> Stated[AlertSuppressed] | None:
        """The statement that the rule rang for nobody."""
        return next((one for one in self.spared if one.event.subscriber_id is None), None)

    def of(self, subscriber_id: str) -> Stated[AlertSuppressed] | None:
        """The statement that this one is spared."""
        return next((one for one in self.spared if one.event.subscriber_id == subscriber_id), None)

    def named(self) -> list[str]:
        """Who is told, and who is spared by name."""
        told = self.raised.event.subscribers if self.raised else []
        return [*told, *(one.event.subscriber_id for one in self.spared if one.event.subscriber_id)]


def ids_of_alert(event: AnyEvent) -> tuple[str, ...]:
    """What an event on ALERTS can be asked for by."""
    return (event.alert_id, event.cause_id) if isinstance(event, AlertRaised | AlertSuppressed) else ()


def told_apart(messages: Iterable[Received]) -> list[Story]:
    """The stories in what ALERTS says, in order."""
    stories: dict[str, Story] = {}
    for message in messages:
        match message.event():
            case AlertRaised() as event:
                story = stories.setdefault(event.alert_id, _begun(event))
                story.raised = Stated(message, event)
            case AlertSuppressed() as event:
                story = stories.setdefault(event.alert_id, _begun(event))
                story.spared.append(Stated(message, event))
    return list(stories.values())


def _begun(event: AlertRaised | AlertSuppressed) -> Story:
    return Story(event.alert_id, event.rule_id, event.cause_id, event.ts_ms)


def speaks_of(message: Received, wanted: str) -> bool:
    """Whether a message on ALERTS is about this alert, or this cause."""
    try:
        return wanted in ids_of_alert(message.event())
    except Malformed:
        return False


async def steps_of(bus: Bus, subject: str) -> list[Stated[DeliveryChanged]]:
    """Every step of a delivery, by its subject. Raises Unreachable."""
    stated = []
    for message in await bus.page(DELIVERIES, subject, limit=MAX_STEPS):
        event = message.event()
        if isinstance(event, DeliveryChanged):
            stated.append(Stated(message, event))
    return stated


async def deliveries_to(
    bus: Bus, alert_id: str, subscriber_id: str, subscriber: Subscriber | None
) -> list[list[Stated[DeliveryChanged]]]:
    """The deliveries of an alert to somebody: their ids follow from both, so they need not be looked for."""
    subjects = {
        delivery(channel, delivery_id_of(alert_id, subscriber_id, channel, place)): None
        for channel in CHANNELS
        for place in range(PLACES)
    }
    if subscriber is not None:
        now = deliveries(alert_id, subscriber)
        subjects |= {delivery(one.destination.channel, one.delivery_id): None for one in now}
    there = [name async for name, last in last_of(bus, DELIVERIES, {name: name for name in subjects}) if last]
    return [await with_digest(bus, await steps_of(bus, name)) for name in there]


async def with_digest(bus: Bus, steps: list[Stated[DeliveryChanged]]) -> list[Stated[DeliveryChanged]]:
    """The steps, and those of the digest that told it, where one did."""
    if not steps or steps[-1].event.state != "digested":
        return steps
    last = steps[-1].event
    return steps + await steps_of(bus, delivery(last.channel, last.provider_ref))


async def by_delivery(bus: Bus, delivery_id: str) -> list[Stated[DeliveryChanged]]:
    """The steps of a delivery by its id alone; none: there is no such delivery."""
    if encode_token(delivery_id) != delivery_id:
        return []
    return await steps_of(bus, delivery("*", delivery_id))
