"""Moving averages of closes, in price units. TA-Lib's seeding: the mean of the window's first candles."""

from __future__ import annotations

import math

import polars as pl
import polars_talib as ta
import talib as wheel

from signal_engine.indicators.bars import OverBars, mean_of_last
from signal_engine.indicators.by_window import ByWindow
from signal_engine.indicators.indicator import CLOSE, indicator, settling, span, talib

KAMA_SLOWEST = span(30) ** 2
"""The least smoothing factor of Kaufman's average, taken while the price goes nowhere."""


@indicator(memory=lambda period: period)
def sma(period: int = 20) -> OverBars:
    """Simple moving average of the last `period` closes."""
    return OverBars(lambda bars: mean_of_last(bars, bars.close, period))


@indicator(memory=lambda period: period + settling(span(period)))
def ema(period: int = 20) -> ByWindow:
    """Exponential moving average, alpha = 2 / (period + 1)."""
    return ByWindow(wheel.EMA, ["close"], period)


@indicator(memory=lambda period: period)
def wma(period: int = 20) -> pl.Expr:
    """Linearly weighted moving average: the newest close weighs `period`, the oldest 1."""
    return talib(ta.wma(CLOSE, period))


@indicator(memory=lambda period: period + math.isqrt(period))
def hma(period: int = 20) -> pl.Expr:
    """Hull moving average: WMA over sqrt(period) of 2 * WMA(period / 2) - WMA(period). Alan Hull (2005)."""
    return talib(ta.hma(CLOSE, period))


@indicator(memory=lambda period: period + settling(KAMA_SLOWEST))
def kama(period: int = 10) -> pl.Expr:
    """Kaufman's adaptive moving average: fast (EMA 2) where the price moves one way, slow (EMA 30, squared) in noise.

    Perry Kaufman, Smarter Trading (1995). Its memory is that of a market that only makes noise.
    """
    return talib(ta.kama(CLOSE, period))
