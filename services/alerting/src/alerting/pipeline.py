"""An alert's way: match, judge, render, enqueue or put aside. What follows per delivery (attempt, send, record) is
`sending`.

Matches come from `rules` and `prices`, who is told is decided in `audience`; everything here is pure and derived, so a
batch handled twice gives the same ids. A delivery is named by alert, subscriber, channel and the destination's place
among those of its channel: an address never leaves the sender, not even as a digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alerting.channels import SHOW_PICTURES
from alerting.digests.later import Later, late_from, later, line_of, with_late_ones
from alerting.judging.audience import Audience, Decided, Doorkeeper
from alerting.judging.limits import Rung
from alerting.matching.causes import Match
from alerting.reports.reported import Reported
from alerting.sending.places import at_places
from alerting.words import render
from alerting.words.content import Content
from alerting.words.voice import RECORD, Voice
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.events import (
    TERMINAL_STATES,
    AlertRaised,
    AlertSuppressed,
    AsideReason,
    ChannelName,
    DeliveryChanged,
    DeliveryState,
    DigestLine,
    Event,
    SendDue,
    SignalRaised,
)
from tocsin_common.ids import derive

UNDECIDED = Decided()


@dataclass(slots=True)
class Outbox:
    """What a batch of matches publishes. The alert stands and the ledger is open before the work is due, or put aside.

    An alert comes behind those who are spared it: where it is stored, all is stored that was decided about it.
    """

    alerts: list[AlertRaised | AlertSuppressed] = field(default_factory=list)
    opened: list[DeliveryChanged] = field(default_factory=list)
    due: list[SendDue] = field(default_factory=list)
    aside: list[DigestLine] = field(default_factory=list)

    def events(self) -> list[Event]:
        return [*self.alerts, *self.opened, *self.due, *self.aside]


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
            for subscriber in audience.told:
                for due in deliveries_due(match, subscriber, said, ttl_ms=self.ttl_ms, now_ms=now_ms):
                    file(outbox, due, later(match, subscriber, now_ms=now_ms), match, decided.ledgers)
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
        report=match.cause.summary if isinstance(match.cause, Reported) else None,
    )


def deliveries_due(
    match: Match, subscriber: Subscriber, said: dict[Voice, Content], *, ttl_ms: int, now_ms: int
) -> Iterator[SendDue]:
    """The work of every delivery to a subscriber, with the signal or report where a picture of it is shown.

    `said`: the alert in the voices it was rendered for so far; each is rendered once.
    """
    voice = Voice.of(subscriber)
    content = said.get(voice) or said.setdefault(voice, render.of_match(match, voice))
    signal = match.cause if isinstance(match.cause, SignalRaised) else None
    report = match.cause.summary if isinstance(match.cause, Reported) else None
    for delivery_id, place, destination in deliveries_of(match, subscriber):
        yield SendDue(
            delivery_id=delivery_id,
            alert_id=match.alert_id,
            subscriber_id=subscriber.subscriber_id,
            channel=destination.channel,
            title=content.title,
            text=content.text,
            fields=content.fields,
            ts_ms=match.ts_ms,
            queued_ms=now_ms,
            deadline_ms=match.stored_ms + ttl_ms,
            kind=match.kind,
            symbol=match.symbol,
            strategy=match.strategy,
            place=place,
            late_ms=late_from(match.rule, match.stored_ms),
            late_dropped=match.rule.late == "drop",
            signal=signal if destination.channel in SHOW_PICTURES else None,
            report=report if destination.channel in SHOW_PICTURES else None,
            severity=match.rule.severity,
            language=voice.language,
            zone=voice.zone,
            silent=subscriber.preferences.get(match.kind) == "silent",
        )


def file(
    outbox: Outbox, due: SendDue, put_aside: Later | None, match: Match, ledgers: Mapping[str, DeliveryState]
) -> None:
    """Open the ledger, and make the delivery due or put it aside. Where a ledger is open already, it says which."""
    state = ledgers.get(due.delivery_id)
    if state in TERMINAL_STATES:
        return
    if state is None:
        outbox.opened.append(opening(due, aside=put_aside.reason if put_aside else None))
    if state == "aside" or (state is None and put_aside):
        outbox.aside.append(line_of(due, put_aside or with_late_ones("late", due.queued_ms), stored_ms=match.stored_ms))
    else:
        outbox.due.append(due)


def opening(due: SendDue, *, aside: AsideReason | None = None) -> DeliveryChanged:
    """The first entry of a delivery's ledger; `aside`: why it waits for a digest."""
    return DeliveryChanged(
        delivery_id=due.delivery_id,
        alert_id=due.alert_id,
        subscriber_id=due.subscriber_id,
        channel=due.channel,
        state="aside" if aside else "queued",
        attempt=0,
        at_ms=due.queued_ms,
        reason=aside or "",
    )


class Delivery(NamedTuple):
    """A delivery, and where it goes: the `place`-th of the destinations on its channel."""

    delivery_id: str
    place: int
    destination: Destination

    @property
    def open(self) -> bool:
        """Whether anything may go there."""
        return self.destination.verified and self.destination.enabled


def deliveries_of(match: Match, subscriber: Subscriber) -> list[Delivery]:
    """Those of the deliveries to a subscriber that the rule allows and that may go out."""
    allowed = match.rule.channels
    found = deliveries(match.alert_id, subscriber)
    return [one for one in found if one.open and (not allowed or one.destination.channel in allowed)]


def deliveries(alert_id: str, subscriber: Subscriber) -> list[Delivery]:
    """Every delivery there could be of an alert, or of a digest, to a subscriber."""
    return [
        Delivery(delivery_id_of(alert_id, subscriber.subscriber_id, one.channel, place), place, one)
        for place, one in at_places(subscriber)
    ]


def delivery_id_of(alert_id: str, subscriber_id: str, channel: ChannelName, place: int) -> str:
    """The id of a delivery of an alert, or of a digest."""
    return derive("delivery", alert_id, subscriber_id, channel, place)
