"""The table of invariants: what `tocsin audit` checks, in the order of the flow."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.audit import alerting, digests, market, paper, projections, signals, streams
from tocsin.audit.facts import Facts
from tocsin.audit.invariant import Invariant, Result, check
from tocsin.audit.projections import Evidence
from tocsin_common.streams import ALERTS, CANDLES, DELIVERIES, DIGESTS, OUTCOMES, PAPER, SIGNALS, TRADES

STREAM_INVARIANTS: tuple[Invariant[Facts], ...] = (
    Invariant("streams", streams.every_id_is_stored_once),
    Invariant("streams", streams.every_message_is_an_event),
    Invariant("streams", streams.no_bug_gave_a_message_up),
    Invariant("market", market.trades_add_up, (TRADES, CANDLES)),
    Invariant("market", market.no_candle_has_trades_that_are_not_stored, (TRADES,)),
    Invariant("market", market.every_candle_is_stored_once),
    Invariant("market", market.every_candle_is_possible),
    Invariant("market", market.long_candles_are_made_of_short_ones, (CANDLES,)),
    Invariant("signals", signals.every_signal_names_its_candle, (CANDLES,)),
    Invariant("signals", signals.every_signal_has_one_outcome_or_lives),
    Invariant("signals", signals.every_outcome_has_its_signal),
    Invariant("alerting", alerting.every_alert_has_its_cause),
    Invariant("alerting", alerting.every_alert_is_delivered_to_its_subscribers, (DELIVERIES,)),
    Invariant("alerting", alerting.every_delivery_has_its_alert, (ALERTS,)),
    Invariant("alerting", alerting.every_delivery_ends_once, (DELIVERIES,)),
    Invariant("alerting", alerting.every_delivery_takes_legal_steps, (DELIVERIES,)),
    Invariant("digests", digests.everything_put_aside_is_a_line, (DIGESTS,)),
    Invariant("digests", digests.every_line_is_told_by_the_digest_it_names, (DIGESTS,)),
    Invariant("digests", digests.no_two_digests_tell_the_same),
    Invariant("paper", paper.every_fill_has_its_signal),
    Invariant("paper", paper.every_fill_has_its_market_price, (TRADES, CANDLES)),
    Invariant("paper", paper.every_portfolio_counts_its_events),
    Invariant("paper", paper.cash_follows_from_fills),
    Invariant("paper", paper.positions_follow_from_fills),
    Invariant("paper", paper.equity_is_cash_plus_positions),
)

PROJECTION_INVARIANTS: tuple[Invariant[Evidence], ...] = (
    Invariant("rows", projections.every_candle_is_one_row, (CANDLES,)),
    Invariant("rows", projections.every_signal_is_one_row, (SIGNALS,)),
    Invariant("rows", projections.every_outcome_is_one_row, (OUTCOMES,)),
    Invariant("rows", projections.every_alert_decision_is_one_row, (ALERTS,)),
    Invariant("rows", projections.every_delivery_row_is_its_last_step, (DELIVERIES,)),
    Invariant("rows", projections.every_delivery_step_is_one_row, (DELIVERIES,)),
    Invariant("rows", projections.every_portfolio_is_one_row, (PAPER,)),
    Invariant("rows", projections.every_paper_event_is_one_row, (PAPER,)),
    Invariant("rows", projections.every_position_row_follows_from_its_fills, (PAPER,)),
)


def check_all(evidence: Evidence) -> Sequence[Result]:
    """Check every invariant."""
    trimmed = frozenset(name for name, stream in evidence.facts.streams.items() if stream.trimmed)
    return [
        *(check(invariant, evidence.facts, trimmed) for invariant in STREAM_INVARIANTS),
        *(check(invariant, evidence, trimmed) for invariant in PROJECTION_INVARIANTS),
    ]
