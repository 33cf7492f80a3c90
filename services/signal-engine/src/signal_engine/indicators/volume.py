"""How much was traded."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars_talib as ta

from signal_engine.indicators.bars import Floats, OverBars, mean_of_last
from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, VOLUME, indicator, talib


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
def volume_ratio(period: int = 20) -> OverBars:
    """Volume of the candle over the mean volume of the last `period` candles, 0 where nothing traded in all of them."""
    return OverBars(lambda bars: _ratio(bars.volume, mean_of_last(bars, bars.volume, period)))


def _ratio(values: Floats, mean: Floats) -> Floats:
    """Values over their means; 0 where the mean is."""
    return np.divide(values, mean, out=np.zeros(len(mean)), where=~(mean == 0.0))
