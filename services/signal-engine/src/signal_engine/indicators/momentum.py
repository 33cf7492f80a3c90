"""How fast and how steadily the price moves."""

from __future__ import annotations

import polars as pl
import polars_talib as ta
import talib as wheel

from signal_engine.indicators.by_window import BAR, ByWindow
from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, indicator, settling, span, talib, wilder


def _stochastic(period: int, smooth: int, signal: int) -> int:
    return period + smooth + signal - 2


def _macd_signal(fast: int, slow: int, signal: int) -> int:
    return max(fast, slow) + signal + settling(span(max(fast, slow)), span(signal))


@indicator(memory=wilder)
def rsi(period: int = 14) -> ByWindow:
    """Relative strength index 0..100 with Wilder's averages; 0 where the price never moved, as TA-Lib has it.

    J. Welles Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return ByWindow(wheel.RSI, ["close"], period)


@indicator(memory=_stochastic)
def stochastic_k(period: int = 14, smooth: int = 3, signal: int = 3) -> pl.Expr:
    """Slow %K 0..100: where the close lies in the range of `period` candles, averaged over `smooth`. George Lane.

    Null until %D is there too.
    """
    return talib(_stoch(period, smooth, signal).struct.field("slowk"))


@indicator(memory=_stochastic)
def stochastic_d(period: int = 14, smooth: int = 3, signal: int = 3) -> pl.Expr:
    """%D: the mean of the last `signal` values of slow %K."""
    return talib(_stoch(period, smooth, signal).struct.field("slowd"))


@indicator(memory=lambda fast, slow: max(fast, slow) + settling(span(max(fast, slow))))
def macd(fast: int = 12, slow: int = 26) -> ByWindow:
    """EMA `fast` minus EMA `slow`, in price units, both seeded so that they begin on the same candle. Gerald Appel."""
    return ByWindow(wheel.MACD, ["close"], fast, slow, 1, output=0)


@indicator(memory=_macd_signal)
def macd_signal(fast: int = 12, slow: int = 26, signal: int = 9) -> ByWindow:
    """EMA `signal` of the MACD."""
    return ByWindow(wheel.MACD, ["close"], fast, slow, signal, output=1)


@indicator(memory=_macd_signal)
def macd_histogram(fast: int = 12, slow: int = 26, signal: int = 9) -> ByWindow:
    """The MACD minus its signal line."""
    return ByWindow(wheel.MACD, ["close"], fast, slow, signal, output=2)


@indicator(memory=lambda period: 1 + 2 * period + settling(1 / period, 1 / period))
def adx(period: int = 14) -> ByWindow:
    """Average directional index 0..100: how strong the trend is, whichever way it goes. Wilder (1978)."""
    return ByWindow(wheel.ADX, BAR, period)


@indicator(memory=wilder)
def plus_di(period: int = 14) -> ByWindow:
    """Directional indicator 0..100 of rises. Wilder (1978)."""
    return ByWindow(wheel.PLUS_DI, BAR, period)


@indicator(memory=wilder)
def minus_di(period: int = 14) -> ByWindow:
    """Directional indicator 0..100 of falls. Wilder (1978)."""
    return ByWindow(wheel.MINUS_DI, BAR, period)


def _stoch(period: int, smooth: int, signal: int) -> pl.Expr:
    return ta.stoch(HIGH, LOW, CLOSE, period, smooth, 0, signal, 0)
