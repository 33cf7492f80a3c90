"""An alert's way: match, suppress, render, enqueue. What follows per delivery (attempt, send, record) is `sender`.

Matches come from `rules` and `prices`; everything here is pure and derived, so a batch handled twice gives the same
ids. A delivery is named by alert, subscriber, channel and the destination's place among those of its channel: an
address never leaves the sender, not even as a digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from alerting import render
from alerting.channels import SHOW_PICTURES
from alerting.prices import Crossing
from alerting.reasons import Suppressed
from tocsin_common.documents import AlertRule, Destination, Subscriber
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    ChannelName,
    DeliveryChanged,
    Event,
    SendDue,
    SignalRaised,
)
from tocsin_common.ids import derive


@dataclass(frozen=True, slots=True)
class Match:
    """A rule and what it matched, with the ids and the market time that follow from the two.

    `stored_ms` is when the cause was stored (the server's clock).
    """

    rule: AlertRule
    cause: SignalRaised | Crossing
    stored_ms: int
    cause_id: str
    alert_id: str
    ts_ms: int

    @classmethod
    def of(cls, rule: AlertRule, cause: SignalRaised | Crossing, stored_ms: int) -> Match:
        if isinstance(cause, SignalRaised):
            cause_id, ts_ms = cause.signal_id, cause.confirmed_ms
        else:
            cause_id, ts_ms = cause.cause_id, cause.ts_ms
        return cls(rule, cause, stored_ms, cause_id, derive("alert", rule.rule_id, cause_id), ts_ms)


@dataclass(slots=True)
class Audience:
    """Who is told of an alert, and who is not and why."""

    told: list[Subscriber] = field(default_factory=list)
    suppressed: list[tuple[str, Suppressed]] = field(default_factory=list)


@dataclass(slots=True)
class Outbox:
    """What a batch of matches publishes. The alert stands and the ledger is open before the work is due."""

    alerts: list[AlertRaised | AlertSuppressed] = field(default_factory=list)
    queued: list[DeliveryChanged] = field(default_factory=list)
    due: list[SendDue] = field(default_factory=list)

    def events(self) -> list[Event]:
        return [*self.alerts, *self.queued, *self.due]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages in their order. `subscribers` is kept current by its owner; a delivery may take `ttl_ms`."""

    subscribers: Mapping[str, Subscriber]
    ttl_ms: int

    def run(self, matches: Iterable[Match], *, now_ms: int) -> Outbox:
        outbox = Outbox()
        for match in {match.alert_id: match for match in matches}.values():
            audience = suppress(match, self.subscribers)
            content = render_match(match)
            announce(outbox, match, audience, content)
            enqueue(outbox, match, audience, content, deadline_ms=match.stored_ms + self.ttl_ms, now_ms=now_ms)
        return outbox


def suppress(match: Match, subscribers: Mapping[str, Subscriber]) -> Audience:
    """Decide who is told."""
    audience = Audience()
    for subscriber_id in dict.fromkeys(match.rule.subscribers):
        subscriber = subscribers.get(subscriber_id)
        reason = suppression(subscriber, match.ts_ms)
        if subscriber is None or reason:
            audience.suppressed.append((subscriber_id, reason or Suppressed.UNKNOWN_SUBSCRIBER))
        else:
            audience.told.append(subscriber)
    return audience


def suppression(subscriber: Subscriber | None, ts_ms: int) -> Suppressed | None:
    """Why a subscriber is not told of something that happened at a market time; None: tell."""
    if subscriber is None:
        return Suppressed.UNKNOWN_SUBSCRIBER
    if not subscriber.enabled:
        return Suppressed.SUBSCRIBER_DISABLED
    if ts_ms < subscriber.muted_until_ms:
        return Suppressed.MUTED
    return None if subscriber.destinations else Suppressed.NO_DESTINATION


def render_match(match: Match) -> render.Content:
    """Say it in words."""
    if isinstance(match.cause, SignalRaised):
        return render.of_signal(match.cause, match.rule.name)
    return render.of_crossing(match.cause, match.rule.name)


def announce(outbox: Outbox, match: Match, audience: Audience, content: render.Content) -> None:
    """State the alert, and every subscriber who is not told."""
    outbox.alerts.append(
        AlertRaised(
            alert_id=match.alert_id,
            rule_id=match.rule.rule_id,
            kind="signal" if isinstance(match.cause, SignalRaised) else "price",
            cause_id=match.cause_id,
            ts_ms=match.ts_ms,
            exchange=match.cause.exchange,
            symbol=match.cause.symbol,
            title=content.title,
            text=content.text,
            fields=content.fields,
            subscribers=[subscriber.subscriber_id for subscriber in audience.told],
        )
    )
    for subscriber_id, reason in audience.suppressed:
        outbox.alerts.append(
            AlertSuppressed(
                alert_id=match.alert_id,
                rule_id=match.rule.rule_id,
                cause_id=match.cause_id,
                subscriber_id=subscriber_id,
                ts_ms=match.ts_ms,
                reason=reason,
            )
        )


def enqueue(
    outbox: Outbox, match: Match, audience: Audience, content: render.Content, *, deadline_ms: int, now_ms: int
) -> None:
    """Open the ledger for every delivery and make it due, with the signal where a picture of it is shown."""
    signal = match.cause if isinstance(match.cause, SignalRaised) else None
    for subscriber in audience.told:
        for delivery_id, destination in deliveries(match.alert_id, subscriber):
            outbox.queued.append(
                DeliveryChanged(
                    delivery_id=delivery_id,
                    alert_id=match.alert_id,
                    subscriber_id=subscriber.subscriber_id,
                    channel=destination.channel,
                    state="queued",
                    attempt=0,
                    at_ms=now_ms,
                )
            )
            outbox.due.append(
                SendDue(
                    delivery_id=delivery_id,
                    alert_id=match.alert_id,
                    subscriber_id=subscriber.subscriber_id,
                    channel=destination.channel,
                    title=content.title,
                    text=content.text,
                    fields=content.fields,
                    ts_ms=match.ts_ms,
                    queued_ms=now_ms,
                    deadline_ms=deadline_ms,
                    signal=signal if destination.channel in SHOW_PICTURES else None,
                )
            )


def deliveries(alert_id: str, subscriber: Subscriber) -> list[tuple[str, Destination]]:
    """The deliveries of an alert to a subscriber: id and destination."""
    places: dict[ChannelName, int] = {}
    found = []
    for destination in subscriber.destinations:
        place = places[destination.channel] = places.get(destination.channel, -1) + 1
        delivery_id = derive("delivery", alert_id, subscriber.subscriber_id, destination.channel, place)
        found.append((delivery_id, destination))
    return found
