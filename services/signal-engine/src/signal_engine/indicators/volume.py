"""What was traded, and at which price."""

from __future__ import annotations

import polars as pl
import polars_talib as ta

from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, VOLUME, WINDOW, indicator, talib

OPEN_MS, PRECEDING = pl.col("open_ms"), pl.col("preceding")

TYPICAL = (HIGH + LOW + CLOSE) * (1.0 / 3.0)
"""Times a third, not by three: dividing a column by a number, Polars rounds a single row otherwise than many."""

SESSION_MS = 86_400_000
"""A session is a UTC day: crypto markets never close, and exchanges count their days so."""


@indicator(memory=lambda: None)
def obv() -> pl.Expr:
    """On-balance volume, counted from the window's first candle: only its changes mean something. Joseph Granville."""
    return talib(ta.obv(CLOSE, VOLUME))


@indicator(memory=lambda period: period + 1)
def mfi(period: int = 14) -> pl.Expr:
    """Money flow index 0..100: the RSI's question asked of price times volume. Gene Quong and Avrum Soudack."""
    return talib(ta.mfi(HIGH, LOW, CLOSE, VOLUME, period))


@indicator(memory=lambda period: period)
def cmf(period: int = 20) -> pl.Expr:
    """Chaikin money flow -1..1: volume weighted by where candles closed in their range. Marc Chaikin."""
    return talib(ta.cmf(HIGH, LOW, CLOSE, VOLUME, period))


@indicator(memory=lambda period: period)
def volume_ratio(period: int = 20) -> pl.Expr:
    """Volume of the candle over the mean volume of the last `period` candles, 0 where nothing traded in all of them."""
    mean = VOLUME.rolling_mean(period).over(WINDOW)
    return pl.when(mean > 0).then(VOLUME / mean).when(mean.is_not_null()).then(0.0)


@indicator(memory=lambda: None)
def vwap_session() -> pl.Expr:
    """Volume-weighted average of typical prices since 00:00 UTC.

    Null while nothing traded, and on a day that began before the window did.
    """
    day = OPEN_MS // SESSION_MS
    session = ((PRECEDING == 0) | (day != day.shift(1))).cum_sum()
    whole = (PRECEDING.first() > 0) | (OPEN_MS.first() % SESSION_MS == 0)
    return pl.when(whole.over(session)).then(_weighted(TYPICAL, VOLUME, session))


@indicator(memory=lambda anchor_ms: None)
def vwap_anchored(anchor_ms: int = 0) -> pl.Expr:
    """Volume-weighted average of typical prices since the candle that opened at `anchor_ms` (ms UTC).

    Null before it, while nothing traded, and where the window began after it.
    """
    since = (anchor_ms <= OPEN_MS) & (OPEN_MS.first().over(WINDOW) <= anchor_ms)
    return pl.when(since).then(_weighted(TYPICAL, pl.when(since).then(VOLUME).otherwise(0.0), pl.col(WINDOW)))


def _weighted(price: pl.Expr, weight: pl.Expr, key: pl.Expr) -> pl.Expr:
    total = weight.cum_sum().over(key)
    return pl.when(total > 0).then((price * weight).cum_sum().over(key) / total)
