"""Candles as a stream gave them, kept for the whole-history query."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from operator import lt
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.window import PRICES
from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAME_MS

Instrument = tuple[str, str]
"""Exchange and symbol."""

Names = tuple[str, str, str]
"""Exchange, symbol and timeframe."""


class _Message(NamedTuple):
    """What is the same for all candles of a message. Before it, `newest_ms` is the open time of the newest candle of
    the series, `seen_ms` the newest close of the instrument in any timeframe, `passed_ms` the time of the newest mark.
    """

    exchange: str
    symbol: str
    timeframe: str
    warm_up: bool
    newest_ms: int
    seen_ms: int
    passed_ms: int


_MESSAGE = {
    "exchange": pl.String,
    "symbol": pl.String,
    "timeframe": pl.String,
    "warm_up": pl.Boolean,
    "newest_ms": pl.Int64,
    "seen_ms": pl.Int64,
    "passed_ms": pl.Int64,
}


class Recording:
    """Takes candles in stream order by the rules of the engine: corrections and disordered messages do not count, and
    of several candles with the same open time the first does.

    `from_ms`: by timeframe, the open time from which candles are kept (default: all). `oldest_ms` is the open time of
    the oldest candle of each series, kept or not.
    """

    def __init__(self, from_ms: Mapping[str, int] | None = None) -> None:
        self.oldest_ms: dict[Names, int] = {}
        self._from_ms = from_ms or {}
        self._messages: list[_Message] = []
        self._sizes: list[int] = []
        self._opens: list[int] = []
        self._values: dict[str, list[float]] = {name: [] for name in PRICES}
        self._newest_ms: dict[Names, int] = {}
        self._seen_ms: dict[Instrument, int] = {}

    def __len__(self) -> int:
        return len(self._opens)

    def add(self, event: CandlesClosed, passed_ms: int = 0) -> None:
        """Take in one message; what does not count is left out. `passed_ms`: the time of the newest mark before it."""
        opens = list(event.open_ms)
        if event.revision or not all(map(lt, opens, opens[1:])):
            return
        series, instrument = (event.exchange, event.symbol, event.timeframe), (event.exchange, event.symbol)
        newest_ms, seen_ms = self._newest_ms.get(series, -1), self._seen_ms.get(instrument, -1)
        self.oldest_ms[series] = min(self.oldest_ms.get(series, opens[0]), opens[0])
        self._newest_ms[series] = max(newest_ms, opens[-1])
        self._seen_ms[instrument] = max(seen_ms, opens[-1] + TIMEFRAME_MS[event.timeframe])
        first = bisect_left(opens, self._from_ms.get(event.timeframe, 0))
        if first < len(opens):
            self._messages.append(_Message(*series, event.origin == "history", newest_ms, seen_ms, passed_ms))
            self._sizes.append(len(opens) - first)
            self._opens += opens[first:]
            for name, column in self._values.items():
                column += getattr(event, name)[first:]

    def frame(self) -> pl.DataFrame:
        """Every candle once, in stream order.

        Columns: exchange, symbol, timeframe (text), open_ms (i64), PRICES (f64), close_ms (i64), warm_up (of origin
        `history`, bool), late_from_ms, late_to_ms (i64, null unless the candle was late: signals confirmed in
        between, both included, were judged without it), passed_ms (i64, the time of the newest mark before it, if that
        is not before its close: up to then whoever looks at the whole market judged without it).
        """
        messages = pl.DataFrame(self._messages, schema=_MESSAGE, orient="row")
        rows = messages[np.repeat(np.arange(len(self._sizes)), self._sizes)]
        length = pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
        late = pl.col("open_ms") < pl.col("newest_ms")
        return (
            rows.with_columns(pl.Series("open_ms", self._opens, pl.Int64))
            .with_columns(pl.Series(name, column, pl.Float64) for name, column in self._values.items())
            .unique(["exchange", "symbol", "timeframe", "open_ms"], keep="first", maintain_order=True)
            .with_columns(close_ms=pl.col("open_ms") + length)
            .with_columns(
                late_from_ms=pl.when(late).then("close_ms"),
                late_to_ms=pl.when(late).then("seen_ms"),
                passed_ms=pl.when(pl.col("passed_ms") >= pl.col("close_ms")).then("passed_ms"),
            )
            .drop("newest_ms", "seen_ms")
        )
