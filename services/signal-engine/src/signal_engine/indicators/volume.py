"""What was traded, and at which price."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl
import polars_talib as ta

from signal_engine.indicators.bars import Bools, Floats, Ints, mean_of_last, over_bars
from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, VOLUME, indicator, talib

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
    return over_bars(lambda bars: _ratio(bars.volume, mean_of_last(bars, bars.volume, period)))


@indicator(memory=lambda: None)
def vwap_session() -> pl.Expr:
    """Volume-weighted average of typical prices since 00:00 UTC.

    Null while nothing traded, and on a day that began before the window did.
    """
    return pl.map_batches([TYPICAL, VOLUME, PRECEDING, OPEN_MS], _since_midnight, return_dtype=pl.Float64)


@indicator(memory=lambda anchor_ms: None)
def vwap_anchored(anchor_ms: int = 0) -> pl.Expr:
    """Volume-weighted average of typical prices since the candle that opened at `anchor_ms` (ms UTC).

    Null before it, while nothing traded, and where the window began after it.
    """
    since = partial(_since_anchor, anchor_ms)
    return pl.map_batches([TYPICAL, VOLUME, PRECEDING, OPEN_MS], since, return_dtype=pl.Float64)


def _ratio(values: Floats, mean: Floats) -> Floats:
    """Values over their means; 0 where the mean is."""
    return np.divide(values, mean, out=np.zeros(len(mean)), where=~(mean == 0.0))


def _since_midnight(columns: Sequence[pl.Series]) -> pl.Series:
    price, volume, preceding, open_ms = (column.to_numpy() for column in columns)
    begins = preceding == 0
    begins[1:] |= np.diff(open_ms // SESSION_MS) != 0
    starts = np.flatnonzero(begins)
    return _weighted(price, volume, starts, (preceding[starts] > 0) | (open_ms[starts] % SESSION_MS == 0))


def _since_anchor(anchor_ms: int, columns: Sequence[pl.Series]) -> pl.Series:
    price, volume, preceding, open_ms = (column.to_numpy() for column in columns)
    starts = np.flatnonzero(preceding == 0)
    return _weighted(price, np.where(open_ms >= anchor_ms, volume, 0.0), starts, open_ms[starts] <= anchor_ms)


def _weighted(price: Floats, weight: Floats, starts: Ints, valid: Bools) -> pl.Series:
    """Weighted mean since the latest of `starts`, null where that is not valid and while nothing weighs anything."""
    sizes = np.diff(np.append(starts, len(price)))
    stretch = np.repeat(np.arange(len(starts), dtype=np.uint32), sizes)
    parts = pl.DataFrame({"stretch": stretch, "weight": weight, "value": price * weight})
    # A total of its own for each stretch, so that none leaves its rounding to the next.
    totals = parts.select(pl.col("weight", "value").cum_sum().over(pl.col("stretch").set_sorted()))
    total, value = (column.to_numpy() for column in totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pl.Series(np.where(np.repeat(valid, sizes) & (total > 0), value / total, np.nan), nan_to_null=True)
