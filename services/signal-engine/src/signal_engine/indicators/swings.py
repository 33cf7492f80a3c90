"""Swing points: a high above its `k` neighbours on both sides, a low below them. Confirmed `k` candles later.

Bill Williams' fractals, with any k. Of equal highs next to each other the first is the swing. A swing is visible from
the close of the candle that confirms it, for REACH_CANDLES, until the next one is confirmed.
"""

from __future__ import annotations

import numpy as np

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Floats, OverBars
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.spans import Spans, spans


def swing_memory(k: int) -> int:
    """The oldest visible swing, and its neighbours on the left."""
    return REACH_CANDLES + 2 * k + 1


@indicator(memory=swing_memory)
def swing_high_price(k: int = 3) -> OverBars:
    """Price of the latest confirmed swing high."""
    return OverBars(lambda bars: swing_price(bars, k, swing_highs(bars, k)))


@indicator(memory=swing_memory)
def swing_high_bar(k: int = 3) -> OverBars:
    """How many candles ago that swing high was; k on the candle that confirms it."""
    return OverBars(lambda bars: swing_highs(bars, k).age() + k)


@indicator(memory=swing_memory)
def swing_low_price(k: int = 3) -> OverBars:
    """Price of the latest confirmed swing low."""
    return OverBars(lambda bars: -swing_price(bars.mirrored(), k, swing_highs(bars.mirrored(), k)))


@indicator(memory=swing_memory)
def swing_low_bar(k: int = 3) -> OverBars:
    """How many candles ago that swing low was; k on the candle that confirms it."""
    return OverBars(lambda bars: swing_highs(bars.mirrored(), k).age() + k)


@indicator(memory=swing_memory)
def sweep_high(k: int = 3) -> OverBars:
    """Liquidity swept above a swing high: its price, on the first candle that trades above it, if that closes below."""
    return OverBars(lambda bars: _sweep(bars, k))


@indicator(memory=swing_memory)
def sweep_low(k: int = 3) -> OverBars:
    """Liquidity swept below a swing low: its price, on the first candle that trades below it, if that closes above."""
    return OverBars(lambda bars: -_sweep(bars.mirrored(), k))


def swing_highs(bars: Bars, k: int) -> Spans:
    """The candles that confirm a swing high, each k candles after it."""
    rows = len(bars.high) - 2 * k
    peak = bars.high[k : k + max(rows, 0)]
    confirmed = np.ones(len(peak), np.bool_)
    for away in range(1, k + 1):
        confirmed &= peak > bars.high[k - away :][: len(peak)]
        confirmed &= peak >= bars.high[k + away :][: len(peak)]
    events = np.flatnonzero(confirmed) + 2 * k
    return spans(bars, events[bars.preceding[events] >= 2 * k])


def swing_price(bars: Bars, k: int, swing: Spans) -> Floats:
    """Price of each row's latest swing high, NaN where there is none."""
    return swing.spread(bars.high[swing.start - k])


def _sweep(bars: Bars, k: int) -> Floats:
    swing = swing_highs(bars, k)
    first = swing.first(bars.high > swing_price(bars, k, swing))
    price, inside = bars.high[swing.start - k], first < swing.end
    swept = np.full(len(bars.high), np.nan)
    swept[first[inside]] = price[inside]
    return np.where(bars.close < swept, swept, np.nan)
