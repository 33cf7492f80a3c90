"""An alert's way: match, judge, render, enqueue. What follows per delivery (attempt, send, record) is `sending`.

Matches come from `rules` and `prices`, who is told is decided in `audience`; everything here is pure and derived, so a
batch handled twice gives the same ids. A delivery is named by alert, subscriber, channel and the destination's place
among those of its channel: an address never leaves the sender, not even as a digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from alerting import render
from alerting.audience import Audience, Decided, Doorkeeper
from alerting.causes import Match
from alerting.channels import SHOW_PICTURES
from alerting.content import Content
from alerting.limits import Rung
from alerting.voice import RECORD, Voice
from tocsin_common.documents import Destination, Subscriber
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

UNDECIDED = Decided()


@dataclass(slots=True)
class Outbox:
    """What a batch of matches publishes. The alert stands and the ledger is open before the work is due.

    An alert comes behind those who are spared it: where it is stored, all is stored that was decided about it.
    """

    alerts: list[AlertRaised | AlertSuppressed] = field(default_factory=list)
    queued: list[DeliveryChanged] = field(default_factory=list)
    due: list[SendDue] = field(default_factory=list)

    def events(self) -> list[Event]:
        return [*self.alerts, *self.queued, *self.due]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages in their order. A delivery may take `ttl_ms`."""

    door: Doorkeeper
    ttl_ms: int

    def run(self, matches: Iterable[Match], rung: Rung, before: Mapping[str, Decided], *, now_ms: int) -> Outbox:
        """`rung` knows the lines of the matches, and is told what rings; `before`: what was decided, by alert."""
        outbox = Outbox()
        for match in {match.alert_id: match for match in matches}.values():
            decided = before.get(match.alert_id, UNDECIDED)
            audience = self.door.judge(match, rung, decided)
            outbox.alerts += audience.spared
            if not audience.rings:
                continue
            rung.note(match)
            said = {RECORD: render.of_match(match, RECORD)}
            if decided.told is None:
                outbox.alerts.append(announce(match, audience, said[RECORD]))
            enqueue(outbox, match, audience, said, deadline_ms=match.stored_ms + self.ttl_ms, now_ms=now_ms)
        return outbox


def announce(match: Match, audience: Audience, content: Content) -> AlertRaised:
    """State the alert."""
    return AlertRaised(
        alert_id=match.alert_id,
        rule_id=match.rule.rule_id,
        kind=match.kind,
        cause_id=match.cause_id,
        ts_ms=match.ts_ms,
        exchange=match.exchange,
        symbol=match.symbol,
        title=content.title,
        text=content.text,
        fields=content.fields,
        subscribers=[subscriber.subscriber_id for subscriber in audience.told],
        severity=match.rule.severity,
        rule_revision=match.revision,
    )


def enqueue(
    outbox: Outbox,
    match: Match,
    audience: Audience,
    said: dict[Voice, Content],
    *,
    deadline_ms: int,
    now_ms: int,
) -> None:
    """Open the ledger for every delivery and make it due, with the signal where a picture of it is shown.

    `said`: the alert in the voices it was rendered for so far; each is rendered once.
    """
    signal = match.cause if isinstance(match.cause, SignalRaised) else None
    for subscriber in audience.told:
        voice = Voice.of(subscriber)
        content = said.get(voice) or said.setdefault(voice, render.of_match(match, voice))
        for delivery_id, destination in deliveries_of(match, subscriber):
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
                    severity=match.rule.severity,
                    language=voice.language,
                    zone=voice.zone,
                    silent=subscriber.preferences.get(match.kind) == "silent",
                )
            )


def deliveries_of(match: Match, subscriber: Subscriber) -> list[tuple[str, Destination]]:
    """Those of the deliveries to a subscriber that the rule allows and that may go out."""
    allowed = match.rule.channels
    found = deliveries(match.alert_id, subscriber)
    return [(one, to) for one, to in found if to.verified and to.enabled and (not allowed or to.channel in allowed)]


def deliveries(alert_id: str, subscriber: Subscriber) -> list[tuple[str, Destination]]:
    """Every delivery there could be of an alert to a subscriber: id and destination."""
    places: dict[ChannelName, int] = {}
    found = []
    for destination in subscriber.destinations:
        place = places[destination.channel] = places.get(destination.channel, -1) + 1
        delivery_id = derive("delivery", alert_id, subscriber.subscriber_id, destination.channel, place)
        found.append((delivery_id, destination))
    return found
