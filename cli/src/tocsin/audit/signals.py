"""Invariants of signals and their outcomes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tocsin.audit.candles import Key, closes_at
from tocsin.audit.facts import Facts
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS


def every_signal_names_its_candle(facts: Facts) -> Iterator[str]:
    """Every signal stands on a candle of CANDLES that was closed when it was confirmed, at its close."""
    by_series: dict[Key, list[SignalRaised]] = defaultdict(list)
    for signal in facts.signals.values():
        by_series[signal.exchange, signal.symbol, signal.timeframe].append(signal)
    for key, signals in by_series.items():
        candles = facts.candles.by_key.get(key)
        wanted = {signal.candle_open_ms for signal in signals}
        closes = closes_at(candles, wanted) if candles else {}
        for signal in signals:
            yield from _problems(signal, closes.get(signal.candle_open_ms))


def every_signal_has_one_outcome_or_lives(facts: Facts) -> Iterator[str]:
    """Every signal has exactly one outcome, or has not expired at the last mark the paper trader settled."""
    settled = facts.settled
    for signal_id, signal in facts.signals.items():
        count = len(facts.outcomes.get(signal_id, ()))
        if count > 1:
            yield f"{signal_id}: {count} outcomes"
        elif count == 0 and settled is not None:
            handled = facts.signal_seq[signal_id] <= settled.signals_seq
            if handled and signal.expires_ms < settled.time_ms:
                yield f"{signal_id}: expired at {signal.expires_ms}, the clock is at {settled.time_ms}, no outcome"


def every_outcome_has_its_signal(facts: Facts) -> Iterator[str]:
    """Every outcome names a signal on SIGNALS, and ends between its confirmation and its expiry."""
    for signal_id, outcomes in facts.outcomes.items():
        signal = facts.signals.get(signal_id)
        if signal is None:
            yield f"{signal_id}: an outcome without a signal"
            continue
        for outcome in outcomes:
            if not signal.confirmed_ms <= outcome.ended_ms <= signal.expires_ms:
                yield f"{signal_id}: ended at {outcome.ended_ms}, outside its life"


def _problems(signal: SignalRaised, close: float | None) -> Iterator[str]:
    if close is None:
        yield f"{signal.signal_id}: no {signal.timeframe} candle of {signal.symbol} at {signal.candle_open_ms}"
    elif close != signal.entry:
        yield f"{signal.signal_id}: entry {signal.entry}, its candle closed at {close}"
    if signal.confirmed_ms < signal.candle_open_ms + TIMEFRAME_MS[signal.timeframe]:
        yield f"{signal.signal_id}: confirmed at {signal.confirmed_ms}, before its candle closed"
