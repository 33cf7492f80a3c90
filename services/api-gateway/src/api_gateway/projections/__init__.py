"""What each stream's events become in PostgreSQL: pure functions from events to writes, one module per family.

A batch may be projected again, and from another starting point: writes are upserts by natural key, and what they
leave behind does not depend on how events were grouped into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api_gateway.projections.alerts import project_alerts
from api_gateway.projections.candles import project_candles
from api_gateway.projections.deliveries import project_deliveries
from api_gateway.projections.paper import project_paper
from api_gateway.projections.signals import project_outcomes, project_signals
from api_gateway.projections.writes import CandleCopy, PositionRefresh, Upsert, Write
from tocsin_common.events import AnyEvent
from tocsin_common.streams import ALERTS, CANDLES, DELIVERIES, OUTCOMES, PAPER, SIGNALS

Projection = Callable[[Sequence[AnyEvent]], list[Write]]
"""Events of one stream, in its order, to writes. Raises Rejected for an event that does not belong there."""

PROJECTIONS: dict[str, Projection] = {
    CANDLES.name: project_candles,
    SIGNALS.name: project_signals,
    OUTCOMES.name: project_outcomes,
    PAPER.name: project_paper,
    ALERTS.name: project_alerts,
    DELIVERIES.name: project_deliveries,
}

__all__ = ["PROJECTIONS", "CandleCopy", "PositionRefresh", "Projection", "Upsert", "Write"]
