"""What we have to say to one subscriber about what is theirs: once, as an alert of no rule, in their language.

It waits while they are muted or have quiet hours, so nobody is woken by it, and is said as soon as they listen again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerting.judging.audience import Audience, unwilling
from alerting.matching.causes import Match, Personal
from alerting.pipeline import Outbox, announce, deliveries_due, deliveries_of, file
from alerting.sending.opener import Opener
from alerting.words import render
from alerting.words.voice import RECORD
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import SignalRule, Subscriber
from tocsin_common.events import DeliveryChanged, DeliveryState
from tocsin_common.streams import ALERTS, DELIVERIES
from tocsin_common.subjects import alert_raised, delivery


@dataclass(frozen=True, slots=True)
class Herald:
    """Says it. Several may say the same: it is stored, and sent, once."""

    bus: Bus
    opener: Opener

    async def say(self, subscriber: Subscriber, word: Personal) -> bool:
        """Whether it is said, now or before; False: they do not listen at the moment. Raises Unreachable."""
        now_ms = self.opener.clock_ms()
        rule = SignalRule(rule_id="", name="", subscribers=[subscriber.subscriber_id])
        match = Match.of(rule, 0, word, now_ms)
        last = await self.bus.last(ALERTS, alert_raised("", word.exchange, word.symbol))
        stated = last is not None and last.message_id == match.alert_id
        ledgers = await self._ledgers(match, subscriber)
        if stated and ledgers:
            return True
        if unwilling(subscriber, match) is not None:
            return False
        said = {RECORD: render.of_match(match, RECORD)}
        audience = Audience(rings=True, told=[subscriber])
        outbox = Outbox(alerts=[] if stated else [announce(match, audience, said[RECORD])])
        for due in deliveries_due(match, subscriber, said, ttl_ms=self.opener.ttl_ms, now_ms=now_ms):
            file(outbox, due, None, match, ledgers)
        await self.opener.open(match, outbox)
        return True

    async def _ledgers(self, match: Match, subscriber: Subscriber) -> Mapping[str, DeliveryState]:
        """Those of its deliveries that were opened before."""
        asked = {
            one.delivery_id: delivery(one.destination.channel, one.delivery_id)
            for one in deliveries_of(match, subscriber)
        }
        found: dict[str, DeliveryState] = {}
        async for delivery_id, last in last_of(self.bus, DELIVERIES, asked):
            change = last.event() if last else None
            if isinstance(change, DeliveryChanged):
                found[delivery_id] = change.state
        return found
