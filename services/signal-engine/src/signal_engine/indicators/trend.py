"""Which way the market goes."""

from __future__ import annotations

import polars as pl
import polars_talib as ta
import talib as wheel

from signal_engine.indicators.by_window import BAR, ByWindow
from signal_engine.indicators.indicator import HIGH, LOW, indicator, talib


@indicator(memory=lambda period, multiple: None)
def supertrend(period: int = 10, multiple: float = 3.0) -> ByWindow:
    """The stop line in price units: `multiple` ATRs off the middle of the candle, and moving with the trend only.

    Olivier Seban. A path: two windows agree once the trend turned in both, however long that takes.
    """
    return ByWindow(wheel.SUPERTREND, BAR, period, multiple, output=0)


@indicator(memory=lambda period, multiple: None)
def supertrend_side(period: int = 10, multiple: float = 3.0) -> pl.Expr:
    """1.0 while the close is above the SuperTrend, -1.0 while it is below."""
    side = ByWindow(wheel.SUPERTREND, BAR, period, multiple, output=1).expr
    return pl.when(side != 0).then(side)


@indicator(memory=lambda period: period)
def ichimoku_line(period: int = 26) -> pl.Expr:
    """Middle of the range of `period` candles: Tenkan-sen with 9, Kijun-sen with 26. Goichi Hosoda (1969)."""
    return talib(ta.midprice(HIGH, LOW, period))


@indicator(memory=lambda fast, slow: 2 * slow)
def ichimoku_span_a(fast: int = 9, slow: int = 26) -> pl.Expr:
    """Senkou span A as drawn at this candle: the mean of both lines, `slow` candles ago."""
    lines = ta.midprice(HIGH, LOW, fast) + ta.midprice(HIGH, LOW, slow)
    return talib((lines / 2.0).shift(slow))


@indicator(memory=lambda period, displaced: period + displaced)
def ichimoku_span_b(period: int = 52, displaced: int = 26) -> pl.Expr:
    """Senkou span B as drawn at this candle: the middle of the range of `period` candles, `displaced` candles ago.

    The Chikou span (the close drawn into the past) is no indicator of its own: compare the close with an earlier one.
    """
    return talib(ta.midprice(HIGH, LOW, period).shift(displaced))
