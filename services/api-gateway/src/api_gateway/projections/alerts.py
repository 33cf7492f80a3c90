"""ALERTS: one row per decision, whether it raised an alert or spared a subscriber one."""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.projections.writes import Row, Upsert, Write, json_text, misplaced
from api_gateway.schema import ALERTS
from tocsin_common.events import AlertRaised, AlertSuppressed, AnyEvent


def project_alerts(events: Sequence[AnyEvent]) -> list[Write]:
    return [Upsert.of(ALERTS, map(_alert, events))]


def _alert(event: AnyEvent) -> Row:
    if isinstance(event, AlertRaised):
        return _raised(event)
    if isinstance(event, AlertSuppressed):
        return _suppressed(event)
    raise misplaced(event)


def _raised(event: AlertRaised) -> Row:
    return (
        event.event_id,
        event.alert_id,
        "raised",
        event.rule_id,
        event.kind,
        event.cause_id,
        event.ts_ms,
        event.exchange,
        event.symbol,
        event.title,
        event.text,
        json_text(event.fields),
        json_text(event.subscribers),
        None,
        None,
        None,
    )


def _suppressed(event: AlertSuppressed) -> Row:
    decision = (event.event_id, event.alert_id, "suppressed", event.rule_id, None, event.cause_id, event.ts_ms)
    about = (None, None, None, None, None, None)
    return (*decision, *about, event.subscriber_id, event.reason, event.detail)
