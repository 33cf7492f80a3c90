"""DELIVERIES: the present state of each delivery (the last in stream order), and every step it took."""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.projections.writes import Row, Upsert, Write, misplaced
from api_gateway.schema import DELIVERIES, DELIVERY_EVENTS
from tocsin_common.events import AnyEvent, DeliveryChanged


def project_deliveries(events: Sequence[AnyEvent]) -> list[Write]:
    steps: list[DeliveryChanged] = []
    for event in events:
        if not isinstance(event, DeliveryChanged):
            raise misplaced(event)
        steps.append(event)
    return [Upsert.of(DELIVERIES, map(_delivery, steps)), Upsert.of(DELIVERY_EVENTS, map(_step, steps))]


def _delivery(event: DeliveryChanged) -> Row:
    return (
        event.delivery_id,
        event.alert_id,
        event.subscriber_id,
        event.channel,
        event.state,
        event.attempt,
        event.at_ms,  # queued_ms: kept from the first step
        event.at_ms,
        event.reason,
        event.provider_ref,
    )


def _step(event: DeliveryChanged) -> Row:
    return (event.delivery_id, event.state, event.attempt, event.at_ms, event.reason, event.provider_ref)
