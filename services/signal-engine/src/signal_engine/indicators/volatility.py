"""How far the price swings, and channels around it."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars_talib as ta
import talib as wheel

from signal_engine.indicators.bars import Bars, Floats, OverBars, mean_of_last
from signal_engine.indicators.by_window import BAR, ByWindow
from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, WINDOW, indicator, settling, span, talib, wilder

NO_VARIANCE = 1e-14
"""What TA-Lib takes for zero."""


def _finite(period: int, *_: float) -> int:
    return period


def _keltner(period: int, atr_period: int, _: float) -> int:
    return max(period + settling(span(period)), wilder(atr_period))


@indicator(memory=wilder)
def atr(period: int = 14) -> ByWindow:
    """Average true range in price units, smoothed as Wilder did (alpha = 1 / period).

    J. Welles Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return ByWindow(wheel.ATR, BAR, period)


@indicator(memory=_finite)
def bollinger_upper(period: int = 20, deviations: float = 2.0) -> OverBars:
    """The mean of `period` closes plus `deviations` of their standard deviations (population). John Bollinger."""
    return OverBars(lambda bars: _band(bars, period, deviations))


@indicator(memory=_finite)
def bollinger_lower(period: int = 20, deviations: float = 2.0) -> OverBars:
    """The mean of `period` closes (`sma`) minus `deviations` of their standard deviations."""
    return OverBars(lambda bars: _band(bars, period, -deviations))


@indicator(memory=_finite)
def bollinger_width(period: int = 20, deviations: float = 2.0) -> OverBars:
    """Distance of the Bollinger bands as a share of their middle."""
    return OverBars(lambda bars: _width(bars, period, deviations))


@indicator(memory=_keltner)
def keltner_upper(period: int = 20, atr_period: int = 10, multiple: float = 2.0) -> pl.Expr:
    """EMA `period` of closes plus `multiple` average true ranges. Chester Keltner, Linda Raschke."""
    return talib(ta.kc(HIGH, LOW, CLOSE, period, atr_period, multiple).struct.field("upperband"))


@indicator(memory=_keltner)
def keltner_lower(period: int = 20, atr_period: int = 10, multiple: float = 2.0) -> pl.Expr:
    """EMA `period` of closes minus `multiple` average true ranges."""
    return talib(ta.kc(HIGH, LOW, CLOSE, period, atr_period, multiple).struct.field("lowerband"))


@indicator(memory=lambda period: period + 1)
def highest(period: int = 20) -> OverBars:
    """Upper Donchian channel: the highest high of the `period` candles before this one."""
    return OverBars(lambda bars: _highest_before(bars, bars.high, period))


@indicator(memory=lambda period: period + 1)
def lowest(period: int = 20) -> OverBars:
    """Lower Donchian channel: the lowest low of the `period` candles before this one."""
    return OverBars(lambda bars: -_highest_before(bars, -bars.low, period))


@indicator(memory=lambda period: period + 1)
def realised_volatility(period: int = 20) -> pl.Expr:
    """Standard deviation (sample) of the last `period` logarithmic returns, per candle: not annualised."""
    return CLOSE.log().diff().rolling_std(period).over(WINDOW)


@indicator(memory=_finite)
def z_score(period: int = 20) -> pl.Expr:
    """Distance of the close from the mean of `period` closes, in their standard deviations; null where those are 0."""
    deviation = ta.stddev(CLOSE, period, 1.0)
    return talib(pl.when(deviation > 0).then((CLOSE - ta.sma(CLOSE, period)) / deviation))


def _highest_before(bars: Bars, values: Floats, period: int) -> Floats:
    """Highest of the `period` values before each row, from the highest of 2, 4, 8 ... of them; NaN before there are."""
    highest, rows = np.roll(values, 1), 1
    while rows < period:
        step = min(rows, period - rows)
        highest, rows = np.maximum(highest, np.roll(highest, step)), rows + step
    return np.where(bars.preceding >= period, highest, np.nan)


def _band(bars: Bars, period: int, deviations: float) -> Floats:
    middle, deviation = _spread(bars, period)
    return middle + deviations * deviation


def _width(bars: Bars, period: int, deviations: float) -> Floats:
    middle, deviation = _spread(bars, period)
    return 2.0 * deviations * deviation / middle


def _spread(bars: Bars, period: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation (population) of closes; 0 where rounding leaves no variance, as TA-Lib has it."""
    middle = mean_of_last(bars, bars.close, period)
    variance = mean_of_last(bars, bars.close * bars.close, period) - middle * middle
    return middle, np.sqrt(np.where(variance < NO_VARIANCE, 0.0, variance))
