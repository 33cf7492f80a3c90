"""SIGNALS and OUTCOMES: one row per signal, one per outcome."""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.projections.writes import Row, Upsert, Write, json_text, misplaced
from api_gateway.schema import OUTCOMES, SIGNALS
from tocsin_common.events import AnyEvent, OutcomeMeasured, SignalRaised


def project_signals(events: Sequence[AnyEvent]) -> list[Write]:
    return [Upsert.of(SIGNALS, map(_signal, events))]


def project_outcomes(events: Sequence[AnyEvent]) -> list[Write]:
    return [Upsert.of(OUTCOMES, map(_outcome, events))]


def _signal(event: AnyEvent) -> Row:
    if not isinstance(event, SignalRaised):
        raise misplaced(event)
    return (
        event.signal_id,
        event.strategy,
        event.strategy_version,
        event.params_hash,
        event.exchange,
        event.symbol,
        event.timeframe,
        event.candle_open_ms,
        event.confirmed_ms,
        event.side,
        event.confidence,
        event.entry,
        event.stop,
        json_text(event.targets),
        event.expires_ms,
        json_text(event.reasons),
        json_text(event.features),
        event.definition,
        None if event.risk is None else json_text(event.risk),
    )


def _outcome(event: AnyEvent) -> Row:
    if not isinstance(event, OutcomeMeasured):
        raise misplaced(event)
    return (
        event.signal_id,
        event.strategy,
        event.exchange,
        event.symbol,
        event.timeframe,
        event.side,
        event.result,
        event.confirmed_ms,
        event.ended_ms,
        event.exit_price,
        event.r_multiple,
        event.mfe_r,
        event.mae_r,
        event.targets_hit,
        event.basis,
    )
