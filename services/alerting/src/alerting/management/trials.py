"""A real message that somebody asked for: on the way of every alert, counted and seen as one.

Who asks again within moments gets the answer of before: its id is that of the moment, so it is stored, and sent, once.
"""

from __future__ import annotations

from alerting.judging.audience import Audience
from alerting.matching.causes import Match, Trial
from alerting.pipeline import Outbox, announce, deliveries_due, file
from alerting.reasons import Refused
from alerting.sending.opener import Opener
from alerting.words import render
from alerting.words.voice import RECORD
from tocsin_common.documents import SignalRule, Subscriber
from tocsin_common.errors import Rejected
from tocsin_common.events import ChannelName
from tocsin_common.ids import derive
from tocsin_common.requests.management import Actor, OpenedDelivery, SendTestReply, SendTestRequest

ONE_IN_MS = 10_000
"""A subscriber gets one test in this time, on each choice of channels."""


class Trials:
    """Opens the deliveries of tests. Quiet hours, mutings and silences do not count: it was asked for."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    async def send(self, question: SendTestRequest) -> SendTestReply:
        """Open the deliveries. Raises Rejected when there is nobody, or no place that may be written to."""
        subscriber = self._subscriber(question.actor, question.subscriber_id)
        opener, now_ms = self._opener, self._opener.clock_ms()
        match = _match(subscriber, question.channel, now_ms)
        audience = Audience(rings=True, told=[subscriber])
        content = render.of_match(match, RECORD)
        outbox = Outbox(alerts=[announce(match, audience, content)])
        for due in deliveries_due(match, subscriber, {RECORD: content}, ttl_ms=opener.ttl_ms, now_ms=now_ms):
            file(outbox, due, None, match, {})
        if not outbox.opened:
            place = question.channel or "any channel"
            detail = f"{subscriber.subscriber_id!r} has no destination on {place} that is verified and switched on"
            raise Rejected(Refused.INVALID, detail)
        await opener.open(match, outbox)
        opened = [OpenedDelivery(delivery_id=one.delivery_id, channel=one.channel) for one in outbox.opened]
        return SendTestReply(alert_id=match.alert_id, deliveries=opened)

    def _subscriber(self, actor: Actor, subscriber_id: str) -> Subscriber:
        subscriber = self._opener.directory.subscribers.get(subscriber_id)
        if subscriber is None or not (actor.is_operator or actor.subscriber_id == subscriber_id):
            raise Rejected(Refused.NOT_FOUND, f"there is no subscriber {subscriber_id!r}")
        if not subscriber.enabled:
            raise Rejected(Refused.INVALID, f"the subscriber {subscriber_id!r} is switched off")
        return subscriber


def _match(subscriber: Subscriber, channel: ChannelName | None, now_ms: int) -> Match:
    """As if a rule of nobody's had matched, whose alerts are worth nothing when they are late."""
    name = subscriber.subscriber_id
    rule = SignalRule(rule_id="", name="", subscribers=[name], channels=[channel] if channel else [], late="drop")
    trial = Trial(derive("test", name, channel, now_ms // ONE_IN_MS), now_ms)
    return Match.of(rule, 0, trial, now_ms)
