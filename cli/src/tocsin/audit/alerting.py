"""Invariants of alerts and deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tocsin.audit.facts import Facts
from tocsin_common.events import TERMINAL_STATES, DeliveryChanged, DeliveryState
from tocsin_common.ids import derive

NEXT: dict[DeliveryState, frozenset[DeliveryState]] = {
    "queued": frozenset({"attempting", "aside", "failed", "expired"}),
    "attempting": frozenset({"attempting", "retrying", "aside", "sent", "failed", "unknown", "expired"}),
    "retrying": frozenset({"attempting", "aside", "failed", "expired"}),
    "aside": frozenset({"digested"}),
}
"""The steps a delivery may take. Attempting again without a verdict is a resend after a crash."""


def every_alert_has_its_cause(facts: Facts) -> Iterator[str]:
    """Every alert on a signal names a signal on SIGNALS; every alert on a price names a cause."""
    for alert in facts.alerts.values():
        if alert.kind == "signal" and alert.cause_id not in facts.signals:
            yield f"{alert.alert_id}: rule {alert.rule_id} names the signal {alert.cause_id}, which is not on SIGNALS"
        elif not alert.cause_id:
            yield f"{alert.alert_id}: rule {alert.rule_id} names no cause"
    for suppressed in facts.suppressed:
        if not suppressed.reason:
            yield f"{suppressed.alert_id}: suppressed for {suppressed.subscriber_id} without a reason"


def every_alert_is_delivered_to_its_subscribers(facts: Facts) -> Iterator[str]:
    """Every alert on a signal that alerting has settled has a delivery for each subscriber it is for."""
    told = {(steps[0].alert_id, steps[0].subscriber_id) for steps in facts.deliveries.values()}
    for alert in facts.alerts.values():
        if facts.signal_seq.get(alert.cause_id, facts.alerted_seq + 1) > facts.alerted_seq:
            continue
        for subscriber_id in alert.subscribers:
            if (alert.alert_id, subscriber_id) not in told:
                yield f"{alert.alert_id}: no delivery for {subscriber_id}"


def every_delivery_has_its_alert(facts: Facts) -> Iterator[str]:
    """Every delivery names an alert on ALERTS and a subscriber that the alert is for, or is of a digest."""
    digests = {derive("digest", delivery_id) for delivery_id in facts.lines}
    for delivery_id, steps in facts.deliveries.items():
        if steps[0].alert_id in digests:
            continue
        alert = facts.alerts.get(steps[0].alert_id)
        if alert is None:
            yield f"{delivery_id}: of the alert {steps[0].alert_id}, which is not on ALERTS"
        elif steps[0].subscriber_id not in alert.subscribers:
            yield f"{delivery_id}: to {steps[0].subscriber_id}, who is not among the alert's subscribers"


def every_delivery_ends_once(facts: Facts) -> Iterator[str]:
    """Every delivery is in exactly one terminal state, as its last step, or still due in SEND, or put aside."""
    for delivery_id, steps in facts.deliveries.items():
        ends = [step.state for step in steps if step.state in TERMINAL_STATES]
        if len(ends) > 1:
            yield f"{delivery_id}: ended {len(ends)} times ({', '.join(ends)})"
        elif not ends and delivery_id not in facts.due and steps[-1].state != "aside":
            yield f"{delivery_id}: {steps[-1].state}, but nothing is due in SEND"
        elif ends and steps[-1].state not in TERMINAL_STATES:
            yield f"{delivery_id}: {steps[-1].state} after {ends[0]}"


def every_delivery_takes_legal_steps(facts: Facts) -> Iterator[str]:
    """Every delivery starts queued or aside and moves along the legal steps; attempts never count down."""
    for delivery_id, steps in facts.deliveries.items():
        if steps[0].state not in ("queued", "aside"):
            yield f"{delivery_id}: starts as {steps[0].state}"
        for before, after in pairwise(steps):
            if problem := _problem(before, after):
                yield f"{delivery_id}: {problem}"


def _problem(before: DeliveryChanged, after: DeliveryChanged) -> str | None:
    if after.state not in NEXT.get(before.state, frozenset()):
        return f"{after.state} after {before.state}"
    if after.attempt < before.attempt:
        return f"attempt {after.attempt} after {before.attempt}"
    return None
