"""Strategies that look at the whole market, live: they judge a candle when all that closed with it is there.

When that is a mark says: of a time at or after the candle's end, it covers every candle that ended by then. So they see
what is on the stream at that mark, all symbols of the market, late candles included, whatever the order in which these
came. Nobody else waits for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from signal_engine.evaluation import Evaluation
from signal_engine.frames import framed
from signal_engine.higher import Higher
from signal_engine.market import Market
from signal_engine.watching import Watched
from signal_engine.window import Candles, Series, Window
from signal_engine.windows import Windows
from tocsin_common.events import CandlesClosed, SignalRaised


class Across:
    """The candles these strategies wait with, and the markets they look at.

    `timeframes` are those they judge, of the ones given. Until `clear`, marks must not go back.
    """

    def __init__(self, evaluation: Evaluation, windows: Windows, timeframes: Iterable[str]) -> None:
        self.timeframes = frozenset(filter(evaluation.judges, timeframes))
        self._evaluation, self._windows = evaluation, windows
        self.clear(0)

    def clear(self, time_ms: int) -> None:
        """Forget every candle; the last mark was of `time_ms`."""
        self._time_ms = time_ms
        self._waiting: list[tuple[int, Window]] = []
        self._markets: dict[Market, Watched] = {}
        self._higher = Higher(self._windows.candles_of)

    def watch(self, event: CandlesClosed) -> None:
        """Take in candles of any symbol, in stream order."""
        values = (event.open, event.high, event.low, event.close, event.volume)
        if event.timeframe in self.timeframes:
            self._market(event.exchange, event.symbol, event.timeframe).add(event.symbol, event.open_ms, values)

    def restore(self, series: Series, candles: Candles) -> None:
        """Take in candles of any symbol that an earlier run had in a window."""
        if series.timeframe in self.timeframes:
            self._market(*series).add(series.symbol, candles.opens, candles.values)

    def wait(self, windows: Sequence[tuple[int, Window]]) -> None:
        """These have been evaluated by everybody else (see `Windows.copies`)."""
        for number, window in windows:
            window.pending, window.held = window.ready, None
            if window.series.timeframe in self.timeframes and window.pending.any():
                self._waiting.append((number, window))

    def resume(self) -> None:
        """After a restart: what ends after the last mark was not judged by it."""
        ending = self._windows.ending_after(self._time_ms)
        self._waiting = [one for one in ending if one[1].series.timeframe in self.timeframes]

    def add_late(self, event: CandlesClosed) -> None:
        """Late candles join the windows that wait, too."""
        self._higher.forget(event.timeframe)
        for _, window in self._waiting:
            if window.series == (event.exchange, event.symbol, event.timeframe):
                values = np.array((event.open, event.high, event.low, event.close, event.volume))
                window.add(np.array(event.open_ms, np.int64), values, pending=False)

    def evaluate(self, time_ms: int | None) -> list[SignalRaised]:
        """Signals of candles that ended by `time_ms`; None: of all."""
        if time_ms is not None:
            for market in self._markets.values():
                market.forget(self._time_ms)
            self._time_ms = time_ms
            for _, window in self._waiting:
                window.held = window.pending & window.ending_after(time_ms)
        if not any(window.ready.any() for _, window in self._waiting):
            return []
        together = {market: watched.together() for market, watched in self._markets.items()}
        frames = framed(self._waiting, self._evaluation.warm_up_candles)
        placed = self._evaluation.beside_market(frames, self._windows.series, together)
        signals = self._evaluation.signals(placed, self._windows.series, self._higher)
        self._waiting = [one for one in self._waiting if not one[1].settle()]
        return signals

    def _market(self, exchange: str, symbol: str, timeframe: str) -> Watched:
        key = Market.of(exchange, symbol, timeframe)
        if key not in self._markets:
            self._markets[key] = Watched(key, self._evaluation.warm_up_candles)
            self._markets[key].forget(self._time_ms)
        return self._markets[key]
