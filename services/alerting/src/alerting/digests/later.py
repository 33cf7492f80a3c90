"""Which deliveries are not sent singly, decided when they are opened. Pure.

A subscriber's hourly or daily digest comes first, then whether it is late already, then the rule's groups. Reports are
digests themselves: by severity they join no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from alerting.digests.periods import next_boundary
from alerting.matching.causes import Match
from tocsin_common.documents import GroupBy, Rule, Subscriber
from tocsin_common.events import AsideReason, DigestLine, SendDue
from tocsin_common.ids import derive

LATE_BOX = "late"

GATHER_MS = 30_000
"""A late digest waits so long for more lines: what comes in after an outage comes in quickly."""

GRACE_MS = 5_000
"""Alerts of the last moment before a boundary are still on their way then."""


@dataclass(frozen=True, slots=True)
class Later:
    """Why a delivery is put aside, into which box, and when a digest of that box may go out (our clock)."""

    reason: AsideReason
    box: str
    due_ms: int


def later(match: Match, subscriber: Subscriber, *, now_ms: int) -> Later | None:
    """Whether a delivery is put aside; None: it is sent at once."""
    rule = match.rule
    by_severity = None if match.kind == "report" else subscriber.digests.get(rule.severity)
    if cadence := subscriber.digests.get(match.kind) or by_severity:
        boundary_ms = next_boundary(match.stored_ms, cadence, daily_at=subscriber.digest_at, zone=subscriber.zone)
        due_ms = boundary_ms + GRACE_MS
        missed = due_ms <= now_ms
        return with_late_ones(cadence, now_ms) if missed else Later(cadence, f"{cadence}-{boundary_ms}", due_ms)
    if rule.late == "digest" and 0 < late_from(rule, match.stored_ms) <= now_ms:
        return with_late_ones("late", now_ms)
    if rule.group_by:
        return Later("grouped", f"group-{_group(match)}", now_ms + rule.group_wait_s * 1000)
    return None


def with_late_ones(reason: AsideReason, now_ms: int) -> Later:
    """Into the box of what should have been told before."""
    return Later(reason, LATE_BOX, now_ms + GATHER_MS)


def line_of(due: SendDue, put_aside: Later, *, stored_ms: int, unreachable: bool = False) -> DigestLine:
    """What waits of a delivery that is put aside. `unreachable`: its receiver has failed before."""
    assert due.kind is not None, "a digest is never put aside"
    return DigestLine(
        delivery_id=due.delivery_id,
        alert_id=due.alert_id,
        subscriber_id=due.subscriber_id,
        channel=due.channel,
        place=due.place,
        box=put_aside.box,
        due_ms=put_aside.due_ms,
        reason=put_aside.reason,
        kind=due.kind,
        symbol=due.symbol,
        strategy=due.strategy,
        ts_ms=due.ts_ms,
        stored_ms=stored_ms,
        title=due.title,
        text=due.text,
        fields=due.fields,
        severity=due.severity,
        unreachable=unreachable,
        silent=due.silent,
    )


def late_from(rule: Rule, stored_ms: int) -> int:
    """From when on an alert of a rule is late (our clock); 0: never."""
    return stored_ms + rule.late_after_s * 1000 if rule.late_after_s else 0


def _group(match: Match) -> str:
    """What alerts of the same group have in common."""
    labels: dict[GroupBy, str] = {
        "exchange": match.exchange,
        "symbol": match.symbol,
        "strategy": match.strategy,
        "rule": match.rule.rule_id,
    }
    wanted = sorted(set(match.rule.group_by))
    return derive(*(text for name in wanted for text in (name, labels[name])))
