"""Market structure: closes beyond the latest confirmed swing, and the trend they make.

A close above the latest swing high (the first since it was confirmed) breaks structure upwards, below the latest swing
low downwards. A break against the trend is a change of character (CHoCH), any other a break of structure (BOS); both
are known on the close of the candle that makes them. The trend is the direction of the latest break.
"""

from __future__ import annotations

import numpy as np

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Floats, Ints, OverBars
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.spans import spans
from signal_engine.indicators.swings import swing_highs, swing_memory, swing_price


def structure_memory(k: int) -> int:
    """A break, and the swing it broke."""
    return REACH_CANDLES + 1 + swing_memory(k)


@indicator(memory=structure_memory)
def structure_trend(k: int = 3) -> OverBars:
    """1.0 after a break upwards, -1.0 after one downwards; null where REACH_CANDLES saw none."""
    return OverBars(lambda bars: trend_after(bars, _breaks(bars, k)))


@indicator(memory=structure_memory)
def structure_bos(k: int = 3) -> OverBars:
    """1.0 on the candle that breaks structure upwards with the trend (or without one), -1.0 downwards, else 0.0."""
    return OverBars(lambda bars: _judged(bars, k, against=False))


@indicator(memory=structure_memory)
def structure_choch(k: int = 3) -> OverBars:
    """1.0 on the candle that turns a falling trend upwards, -1.0 on one that turns a rising one, else 0.0."""
    return OverBars(lambda bars: _judged(bars, k, against=True))


def breaks_upwards(bars: Bars, k: int) -> Ints:
    """Rows of the candles that close above the latest swing high, the first to do so."""
    swing = swing_highs(bars, k)
    first = swing.first(bars.close > swing_price(bars, k, swing))
    return first[first < swing.end]


def trend_after(bars: Bars, breaks: Floats) -> Floats:
    """The direction of each row's latest break: 1 up, -1 down, NaN where there is none."""
    events = np.flatnonzero(breaks)
    return spans(bars, events).spread(breaks[events])


def directions(bars: Bars, upwards: Ints, downwards: Ints) -> Floats:
    """Breaks by row: 1 up, -1 down, 0 neither (or, between crossed swings, both)."""
    breaks = np.zeros(len(bars.close))
    breaks[upwards] += 1.0
    breaks[downwards] -= 1.0
    return breaks


def _breaks(bars: Bars, k: int) -> Floats:
    return directions(bars, breaks_upwards(bars, k), breaks_upwards(bars.mirrored(), k))


def _judged(bars: Bars, k: int, *, against: bool) -> Floats:
    breaks = _breaks(bars, k)
    trend_before = np.where(bars.preceding > 0, np.roll(trend_after(bars, breaks), 1), np.nan)
    changes = breaks * trend_before == -1
    return np.where(changes == against, breaks, 0.0)
