"""Rules on indicators that nobody publishes: they would never ring, and that is said.

A signal-engine announces when it starts which columns it publishes, of which timeframes. What a rule looks at and is
not among them is stated on ALERTS as a suppression, once for each writing of the rule, told to its owner, and shown by
a gauge as long as it is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from alerting.matching.causes import Personal
from alerting.matching.indicators import CLOSE
from alerting.metrics import Metrics
from alerting.personal import Herald
from alerting.reasons import Suppressed
from alerting.sending.opener import Opener
from alerting.words.voice import RECORD, Voice
from tocsin_common.bus.consume import pause
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import IndicatorRule, Subscriber
from tocsin_common.errors import Unreachable
from tocsin_common.events import AlertSuppressed, IndicatorsOffered
from tocsin_common.ids import derive
from tocsin_common.streams import ALERTS, ENGINE
from tocsin_common.subjects import INDICATORS_OFFERED, alert_suppressed

log = structlog.get_logger()

LOOK_EVERY_S = 5.0


class Unpublished:
    """Looks at the rules in force beside the last announcement."""

    def __init__(self, bus: Bus, opener: Opener, metrics: Metrics) -> None:
        self._bus = bus
        self._rules, self._subscribers = opener.directory.rules, opener.directory.subscribers
        self._herald = Herald(bus, opener)
        self._metrics = metrics
        self._stated: set[str] = set()
        self._told: set[str] = set()

    async def watch(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`."""
        while not await pause(stop, LOOK_EVERY_S):
            try:
                await self.look()
            except Unreachable as error:
                log.warning("cannot tell whether rules have their indicators", error=str(error))

    async def look(self) -> None:
        """State what was not stated, and tell whose rules they are. While no signal-engine ever started nothing is
        known. Raises Unreachable."""
        rules = self._rules.on_indicators()
        announced = await self._bus.last(ENGINE, INDICATORS_OFFERED) if rules else None
        offer = announced.event() if announced else None
        found = list(self._statements(rules, offer)) if isinstance(offer, IndicatorsOffered) else []
        self._metrics.rules_unpublished.set(len(found))
        new = {one: alert_suppressed(one.rule_id) for _, one in found if one.event_id not in self._stated}
        async for statement, last in last_of(self._bus, ALERTS, new):
            if last is None or last.message_id != statement.event_id:
                await self._bus.publish([statement])
                log.warning("a rule cannot ring", rule=statement.rule_id, problem=statement.detail)
        self._stated = {one.event_id for _, one in found}
        if isinstance(offer, IndicatorsOffered):
            await self._tell([word for rule, one in found for word in self._words(rule, one, offer)])

    async def _tell(self, words: Sequence[tuple[Subscriber, Personal]]) -> None:
        """Say what was not said yet; who does not listen now is told later."""
        for subscriber, word in words:
            if word.cause_id not in self._told and await self._herald.say(subscriber, word):
                self._told.add(word.cause_id)
        self._told &= {word.cause_id for _, word in words}

    def _statements(
        self, rules: list[IndicatorRule], offer: IndicatorsOffered
    ) -> Iterator[tuple[IndicatorRule, AlertSuppressed]]:
        for rule in rules:
            if detail := missing(rule, offer):
                revision = self._rules.revision(rule)
                yield (
                    rule,
                    AlertSuppressed(
                        alert_id=derive("unpublished", rule.rule_id, revision, detail),
                        rule_id=rule.rule_id,
                        cause_id=offer.event_id,
                        subscriber_id=None,
                        ts_ms=offer.at_ms,
                        reason=Suppressed.NOT_PUBLISHED,
                        rule_revision=revision,
                        detail=detail,
                    ),
                )

    def _words(
        self, rule: IndicatorRule, statement: AlertSuppressed, offer: IndicatorsOffered
    ) -> Iterator[tuple[Subscriber, Personal]]:
        """What is said to its owner; of a rule that has none, to those who wait for it."""

        def given(voice: Voice) -> dict[str, str]:
            return {"rule": rule.name, "detail": missing(rule, offer, voice)}

        for name in [rule.owner] if rule.owner in self._subscribers else rule.subscribers:
            if name in self._subscribers:
                cause_id = derive("unpublished", statement.alert_id, name)
                yield (
                    self._subscribers[name],
                    Personal(cause_id, offer.at_ms, "unpublished", given, f"{name}:{rule.rule_id}"),
                )


def missing(rule: IndicatorRule, offer: IndicatorsOffered, voice: Voice = RECORD) -> str:
    """What has to be configured so that a rule can ring; "": nothing."""
    asked = [column for column in (rule.left, rule.right) if isinstance(column, str) and column != CLOSE]
    columns = [column for column in asked if column not in offer.columns]
    if columns:
        return voice.say("missing.columns", columns=", ".join(columns))
    if not offer.columns:
        return voice.say("missing.any")
    if rule.timeframes and not set(rule.timeframes) & set(offer.timeframes):
        return voice.say("missing.timeframes", timeframes=" / ".join(rule.timeframes))
    return ""
