"""From a fired candle to a signal, or to the reason why it is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy, Judgement
from signal_engine.windows import Series
from tocsin_common.events import Side, SignalRaised


def signal_of(strategy: AnyStrategy, series: Series, row: Mapping[str, float], sizing: Sizing) -> SignalRaised:
    """The signal of a row with the strategy's columns, `long` and `stop`. Raises what the strategy raises."""
    side: Side = "long" if row["long"] else "short"
    judgement: Judgement = strategy.judge(row, side)
    params, entry, stop = strategy.params, row["close"], row["stop"]
    confirmed_ms = int(row["open_ms"]) + series.length_ms
    # In a crash a short's farther targets may lie below zero, where no price goes: they are left out.
    return SignalRaised(
        strategy=strategy.instance,
        definition="" if strategy.instance == strategy.name else strategy.name,
        strategy_version=strategy.version,
        params_hash=strategy.params_hash,
        **series._asdict(),
        candle_open_ms=int(row["open_ms"]),
        confirmed_ms=confirmed_ms,
        side=side,
        confidence=judgement.confidence,
        entry=entry,
        stop=stop,
        targets=[target for multiple in params.targets_r if (target := entry + multiple * (entry - stop)) > 0],
        expires_ms=confirmed_ms + params.expiry_candles * series.length_ms,
        reasons=judgement.reasons,
        features=judgement.features,
        risk=sizing.risk(side, entry, stop, basis=strategy.stop_basis, invalidation=judgement.invalidation),
    )


def problem_of(signal: SignalRaised) -> str | None:
    """Why a signal makes no sense, as a metric label; None when it does."""
    prices = [signal.stop, signal.entry, *signal.targets]
    if not all(math.isfinite(value) for value in (*prices, *signal.features.values())):
        return "not_finite"
    if signal.side == "short":
        prices.reverse()
    if prices[0] <= 0:
        return "price_not_positive"
    if not signal.targets:
        return "no_target"
    if any(left >= right for left, right in pairwise(prices)):
        return "wrong_side"
    if not 0 <= signal.confidence <= 100:
        return "confidence_out_of_range"
    return None
