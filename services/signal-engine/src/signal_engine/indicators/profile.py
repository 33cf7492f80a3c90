"""Volume profile of the last candles: at which prices the volume was traded.

The range of the candles' typical prices is cut into BINS; each candle's volume counts in the bin of its typical price.
The point of control is the middle of the bin with most volume, the value area the bins around it that hold VALUE_SHARE
of it, grown towards the larger neighbour (the upper one if equal). J. Peter Steidlmayer, Market Profile (1984).

Null while fewer than `period` candles are there or nothing traded. Costs `period` passes over the frame.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from signal_engine.indicators.bars import Bars, Floats, Ints, OverBars
from signal_engine.indicators.indicator import indicator

BINS = 24
VALUE_SHARE = 0.7
CHUNK_ROWS = 8_192
"""Histograms are made for so many rows at a time: they stay in the cache."""


class Profile(NamedTuple):
    """Of each row, in price units: the point of control and the bounds of the value area."""

    control: Floats
    low: Floats
    high: Floats


@indicator(memory=lambda period: period)
def volume_poc(period: int = 100) -> OverBars:
    """Point of control: the price at which most was traded."""
    return OverBars(lambda bars: _profile(bars, period).control)


@indicator(memory=lambda period: period)
def value_area_low(period: int = 100) -> OverBars:
    """Lower bound of the value area."""
    return OverBars(lambda bars: _profile(bars, period).low)


@indicator(memory=lambda period: period)
def value_area_high(period: int = 100) -> OverBars:
    """Upper bound of the value area."""
    return OverBars(lambda bars: _profile(bars, period).high)


def _profile(bars: Bars, period: int) -> Profile:
    profile = np.full((3, len(bars.rows)), np.nan)
    full = np.flatnonzero(bars.preceding >= period - 1)
    typical = (bars.high + bars.low + bars.close) / 3.0
    for start in range(0, len(full), CHUNK_ROWS):
        rows = full[start : start + CHUNK_ROWS]
        profile[:, rows] = _of_rows(rows, typical, bars.volume, period)
    return Profile(*profile)


def _of_rows(rows: Ints, typical: Floats, volume: Floats, period: int) -> Floats:
    lowest, top = typical[rows], typical[rows]
    for back in range(1, period):
        lowest, top = np.minimum(lowest, typical[rows - back]), np.maximum(top, typical[rows - back])
    width = (top - lowest) / BINS
    histogram, places = np.zeros((len(rows), BINS)), np.arange(len(rows))
    for back in range(period):
        above = typical[rows - back] - lowest
        bins = np.divide(above, width, out=np.zeros(len(rows)), where=width > 0).astype(np.int64)
        histogram[places, np.minimum(bins, BINS - 1)] += volume[rows - back]
    control = histogram.argmax(axis=1)
    low, high = _value_area(histogram, control)
    prices = np.stack((lowest + (control + 0.5) * width, lowest + low * width, lowest + (high + 1) * width))
    return np.where(histogram.sum(axis=1) > 0, prices, np.nan)


def _value_area(histogram: Floats, control: Ints) -> tuple[Ints, Ints]:
    """First and last bin of each row's value area."""
    places, edged = np.arange(len(control)), np.pad(histogram, ((0, 0), (1, 1)), constant_values=-1.0)
    low, high = control.copy(), control.copy()
    inside, enough = histogram[places, control], VALUE_SHARE * histogram.sum(axis=1)
    for _ in range(BINS - 1):
        grows = inside < enough
        below, above = edged[places, low], edged[places, high + 2]
        upwards = above >= below
        inside += np.where(grows, np.where(upwards, above, below), 0.0)
        high += grows & upwards
        low -= grows & ~upwards
    return low, high
