"""A first evaluation of a made-up market, before the first real one.

A process's first query takes some 25 times as long as those that follow (Polars starts its threads and loads what it
needs); no live candle shall wait for that. A strategy that breaks is found here, before the market needs it.
"""

from __future__ import annotations

import numpy as np

from signal_engine.evaluation import Evaluation
from signal_engine.higher import Higher
from signal_engine.window import BLOCK_CANDLES
from signal_engine.windows import Windows
from tocsin_common.events import CandlesClosed, SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

WAVE_CANDLES = 40
"""Rises and falls are this long, which is slow enough for a trend and fast enough to break and to turn."""


def rehearse(evaluation: Evaluation) -> list[SignalRaised]:
    """Evaluate waves of 5 % in every timeframe; the signals mean nothing and are for nobody."""
    windows = Windows(evaluation.warm_up_candles, TIMEFRAME_MS)
    for timeframe in TIMEFRAME_MS:
        windows.add(_waves(timeframe, evaluation.warm_up_candles + 2 * BLOCK_CANDLES), pending=True)
    frames = list(windows.frames())
    with evaluation.entries.forgiven():
        signals = evaluation.signals(frames, windows.series, Higher(windows.candles_of))
        if across := evaluation.across:
            placed = across.beside_market((frame.whole() for frame in frames), windows.series, {})
            signals += across.signals(placed, windows.series, Higher(windows.candles_of))
        return signals


def _waves(timeframe: str, candles: int) -> CandlesClosed:
    at = np.arange(candles)
    close = 100 * (1 + 0.05 * np.sin(at * 2 * np.pi / WAVE_CANDLES))
    opened = np.concatenate((close[:1], close[:-1]))
    return CandlesClosed(
        exchange="rehearsal",
        symbol="WAVES/USDT",
        timeframe=timeframe,
        origin="history",
        open_ms=(at * TIMEFRAME_MS[timeframe]).tolist(),
        open=opened.tolist(),
        high=(np.maximum(opened, close) * 1.001).tolist(),
        low=(np.minimum(opened, close) * 0.999).tolist(),
        close=close.tolist(),
        volume=(100 + at % 7).astype(float).tolist(),
    )
