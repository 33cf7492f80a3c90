"""Who is told of an alert, and who is not and why. Pure; everything is judged at the market time of the match.

A rule that may not ring spares everybody with one statement. Where it may, each subscriber is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alerting.judging.hours import within
from alerting.judging.limits import Rung
from alerting.judging.quotas import Quotas
from alerting.judging.silences import Silences, over
from alerting.matching.causes import Match
from alerting.reasons import Suppressed
from tocsin_common.documents import Destination, Silence, Subscriber
from tocsin_common.events import AlertSuppressed, DeliveryState


@dataclass(slots=True)
class Decided:
    """What was stated of an alert before, in which writing of its rule.

    Who is told (None: it did not ring), and who (None: everybody) is spared. Where that was not stated any more, those
    with an `opened` ledger were to be told; `ledgers` has the state of each by delivery.
    """

    revision: int = 0
    told: list[str] | None = None
    spared: set[str | None] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    ledgers: dict[str, DeliveryState] = field(default_factory=dict)


@dataclass(slots=True)
class Audience:
    """`rings`: the alert is raised; also where a rule has no subscribers at all."""

    rings: bool = False
    told: list[Subscriber] = field(default_factory=list)
    spared: list[AlertSuppressed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Judges matches by what is set now; `subscribers` and `silences` are kept current by their owner. Without `quotas`
    everybody is told as much as there is."""

    subscribers: Mapping[str, Subscriber]
    silences: Silences
    quotas: Quotas | None = None

    def judge(self, match: Match, rung: Rung, before: Decided) -> Audience:
        """Decide who is told. What was decided before, and perhaps stored in part, is not decided otherwise."""
        if before.told is not None:
            known = [self.subscribers[name] for name in before.told if name in self.subscribers]
            return Audience(rings=True, told=known)
        if None in before.spared:
            return Audience()
        silences = self.silences.of(match)
        nobody = None if before.opened else for_nobody(match, rung, silences)
        return Audience(spared=[nobody]) if nobody else self._ask_each(match, silences, before)

    def _ask_each(self, match: Match, silences: Sequence[Silence], before: Decided) -> Audience:
        audience = Audience()
        for name in dict.fromkeys(match.rule.subscribers):
            if name in before.spared:
                continue
            subscriber, silence_id = self.subscribers.get(name), over(silences, name)
            reason = unwilling(subscriber, match) or (Suppressed.SILENCED if silence_id else None)
            if reason is None and self._has_had_all(subscriber, match):
                reason = Suppressed.QUOTA
            if subscriber is None or (reason and name not in before.opened):
                audience.spared.append(spare(match, name, reason or Suppressed.UNKNOWN_SUBSCRIBER, silence_id))
            else:
                audience.told.append(subscriber)
        audience.rings = bool(audience.told) or not match.rule.subscribers
        if self.quotas and audience.rings:
            self.quotas.decided(match.alert_id, audience.told, match.ts_ms)
        return audience

    def _has_had_all(self, subscriber: Subscriber | None, match: Match) -> bool:
        return bool(self.quotas and subscriber and self.quotas.reached(subscriber, match.ts_ms))


def for_nobody(match: Match, rung: Rung, silences: Sequence[Silence]) -> AlertSuppressed | None:
    """Why a rule does not ring, whoever listens; None: it may."""
    rule = match.rule
    if rule.expires_ms is not None and match.ts_ms >= rule.expires_ms:
        return spare(match, None, Suppressed.RULE_EXPIRED)
    if rule.active_hours and not within(rule.active_hours, match.ts_ms):
        return spare(match, None, Suppressed.OUTSIDE_HOURS)
    if silence_id := over(silences, None):
        return spare(match, None, Suppressed.SILENCED, silence_id)
    reason = rung.too_soon(match)
    return spare(match, None, reason) if reason else None


def unwilling(subscriber: Subscriber | None, match: Match) -> Suppressed | None:
    """Why a subscriber is not told; None: tell."""
    rule = match.rule
    if subscriber is None:
        return Suppressed.UNKNOWN_SUBSCRIBER
    if not subscriber.enabled:
        return Suppressed.SUBSCRIBER_DISABLED
    if match.ts_ms < subscriber.muted_until_ms:
        return Suppressed.MUTED
    if subscriber.severities and rule.severity not in subscriber.severities:
        return Suppressed.SEVERITY_OFF
    if subscriber.preferences.get(match.kind) == "off":
        return Suppressed.KIND_OFF
    quiet = subscriber.quiet_hours
    if quiet and rule.severity not in subscriber.wakes_for and within(quiet, match.ts_ms):
        return Suppressed.QUIET_HOURS
    if not subscriber.destinations:
        return Suppressed.NO_DESTINATION
    wanted = [one for one in subscriber.destinations if not rule.channels or one.channel in rule.channels]
    return Suppressed.NO_CHANNEL if not wanted else nowhere(wanted)


def nowhere(destinations: Sequence[Destination]) -> Suppressed | None:
    """Why nothing may go to any of these; None: to some it may."""
    verified = [one for one in destinations if one.verified]
    if not verified:
        return Suppressed.NOT_VERIFIED
    return None if any(one.enabled for one in verified) else Suppressed.UNSUBSCRIBED


def spare(match: Match, subscriber_id: str | None, reason: Suppressed, silence_id: str = "") -> AlertSuppressed:
    """State that somebody (None: anybody) is not told."""
    return AlertSuppressed(
        alert_id=match.alert_id,
        rule_id=match.rule.rule_id,
        cause_id=match.cause_id,
        subscriber_id=subscriber_id,
        ts_ms=match.ts_ms,
        reason=reason,
        silence_id=silence_id if reason is Suppressed.SILENCED else "",
        rule_revision=match.revision,
    )
