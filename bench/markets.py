"""Real candles of 1h as if they were of many markets and of any timeframe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.data import shared_data
from signal_engine.window import BLOCK_CANDLES, PRICES
from tocsin_common.events import CandlesClosed, Origin
from tocsin_trading.timeframes import TIMEFRAME_MS

HOURS = "candles/binance_1h_136_symbols_2024.parquet"
BLOCK_MS = BLOCK_CANDLES * TIMEFRAME_MS["4h"]
END_MS = 1_704_067_200_000 // BLOCK_MS * BLOCK_MS
"""Where the candles end: blocks of every timeframe up to 4h end there, too, so that windows are as long as they get."""


class Markets:
    """Stretches of so many candles, one for each market; there are 1,400 different ones of 500."""

    def __init__(self, symbols: int, candles: int) -> None:
        hours = pl.read_parquet(shared_data() / HOURS).sort("symbol", "ts_ms")
        stretches: list[npt.NDArray[np.float64]] = []
        for rows in hours.partition_by("symbol", maintain_order=True):
            table = rows.select(PRICES).to_numpy().T
            stretches += np.split(table, range(candles, table.shape[1], candles), axis=1)[:-1]
        self.candles = candles
        self._tables = [stretches[number % len(stretches)] for number in range(symbols)]

    def events(self, timeframe: str, first: int, last: int, *, origin: Origin = "exchange") -> Iterator[CandlesClosed]:
        """Candles `first` up to before `last` of every market; the last one of the stretch closes at END_MS."""
        length_ms = TIMEFRAME_MS[timeframe]
        opens = [END_MS - (self.candles - at) * length_ms for at in range(first, last)]
        for number, table in enumerate(self._tables if opens else ()):
            columns = dict(zip(PRICES, table[:, first:last].tolist(), strict=True))
            names = {"exchange": "bench", "symbol": f"S{number:04d}/USDT", "timeframe": timeframe}
            yield CandlesClosed(**names, origin=origin, open_ms=opens, **columns)  # type: ignore[arg-type]
