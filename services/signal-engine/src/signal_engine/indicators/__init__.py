"""Indicators as Polars expressions over the frame of windows (`frames.py`).

Every function gives one expression named after itself and its periods (`ema_12`, `macd_signal_12_26_9`), so that
strategies which ask for the same indicator share one column. What TA-Lib has is computed by TA-Lib and equals it value
for value, null where it has NaN; a recursion is seeded from the window's first candles, and `memory_of` says after how
many candles the seed is forgotten. Each window stands on its own, and no value depends on a later candle: what takes
later candles to recognise (a swing) shows from the candle that confirms it.

Cost: of what sums up, TA-Lib takes 1..5 us for a window of 512 candles (`by_window.py`), an expression of polars-talib
run over each window 6..25 us; of several outputs of one indicator each is computed anew. Live, what is `Recursive` is
carried on, 0.3 us for a candle, and what only looks back is computed of no more candles than it remembers.
"""

from __future__ import annotations

from signal_engine.indicators.averages import ema, hma, kama, sma, wma
from signal_engine.indicators.crossing import crosses_above, crosses_below
from signal_engine.indicators.indicator import Indicator, indicator
from signal_engine.indicators.landscape import LANDSCAPE_FIELDS, landscape
from signal_engine.indicators.markets import beta, breadth, correlation, divergence
from signal_engine.indicators.momentum import (
    adx,
    macd,
    macd_histogram,
    macd_signal,
    minus_di,
    plus_di,
    rsi,
    stochastic_d,
    stochastic_k,
)
from signal_engine.indicators.profile import value_area_high, value_area_low, volume_poc
from signal_engine.indicators.registry import INDICATORS, memory_of
from signal_engine.indicators.structure import structure_bos, structure_choch, structure_trend
from signal_engine.indicators.swings import (
    sweep_high,
    sweep_low,
    swing_high_bar,
    swing_high_price,
    swing_low_bar,
    swing_low_price,
)
from signal_engine.indicators.trend import ichimoku_line, ichimoku_span_a, ichimoku_span_b, supertrend, supertrend_side
from signal_engine.indicators.volatility import (
    atr,
    bollinger_lower,
    bollinger_upper,
    bollinger_width,
    highest,
    keltner_lower,
    keltner_upper,
    lowest,
    realised_volatility,
    z_score,
)
from signal_engine.indicators.volume import cmf, mfi, obv, volume_ratio
from signal_engine.indicators.vwap import vwap_anchored, vwap_session
from signal_engine.indicators.zones import (
    fvg_bear_bar,
    fvg_bear_high,
    fvg_bear_low,
    fvg_bull_bar,
    fvg_bull_high,
    fvg_bull_low,
    order_block_bear_bar,
    order_block_bear_confirmed,
    order_block_bear_high,
    order_block_bear_low,
    order_block_bull_bar,
    order_block_bull_confirmed,
    order_block_bull_high,
    order_block_bull_low,
)

__all__ = [
    "INDICATORS",
    "LANDSCAPE_FIELDS",
    "Indicator",
    "adx",
    "atr",
    "beta",
    "bollinger_lower",
    "bollinger_upper",
    "bollinger_width",
    "breadth",
    "cmf",
    "correlation",
    "crosses_above",
    "crosses_below",
    "divergence",
    "ema",
    "fvg_bear_bar",
    "fvg_bear_high",
    "fvg_bear_low",
    "fvg_bull_bar",
    "fvg_bull_high",
    "fvg_bull_low",
    "highest",
    "hma",
    "ichimoku_line",
    "ichimoku_span_a",
    "ichimoku_span_b",
    "indicator",
    "kama",
    "keltner_lower",
    "keltner_upper",
    "landscape",
    "lowest",
    "macd",
    "macd_histogram",
    "macd_signal",
    "memory_of",
    "mfi",
    "minus_di",
    "obv",
    "order_block_bear_bar",
    "order_block_bear_confirmed",
    "order_block_bear_high",
    "order_block_bear_low",
    "order_block_bull_bar",
    "order_block_bull_confirmed",
    "order_block_bull_high",
    "order_block_bull_low",
    "plus_di",
    "realised_volatility",
    "rsi",
    "sma",
    "stochastic_d",
    "stochastic_k",
    "structure_bos",
    "structure_choch",
    "structure_trend",
    "supertrend",
    "supertrend_side",
    "sweep_high",
    "sweep_low",
    "swing_high_bar",
    "swing_high_price",
    "swing_low_bar",
    "swing_low_price",
    "value_area_high",
    "value_area_low",
    "volume_poc",
    "volume_ratio",
    "vwap_anchored",
    "vwap_session",
    "wma",
    "z_score",
]
