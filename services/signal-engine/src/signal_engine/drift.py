"""How far off is a column that has seen few candles?

The drift of a column is how far its value, computed on the last N candles alone, lies off its value on all of
history: the largest difference over sampled candles, as a share of the column's largest value on that market.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from signal_engine.window import PRICES

SAMPLES = 128
"""Candles looked at for every number of candles, spread over all markets of a timeframe."""

HISTORY_CANDLES, SERIES_MAX = 16_384, 16
"""What counts as all of history: the last candles of so many markets of a timeframe, the longest ones."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class History:
    """The candles of one timeframe: each market one window, and any sampled candle seen from a number of candles."""

    def __init__(self, candles: pl.DataFrame) -> None:
        markets = [rows.sort("open_ms") for rows in candles.partition_by("exchange", "symbol", maintain_order=True)]
        kept = sorted((rows.tail(HISTORY_CANDLES) for rows in markets), key=len, reverse=True)[:SERIES_MAX]
        self._sizes = np.array([len(rows) for rows in kept])
        self._starts = np.concatenate(([0], np.cumsum(self._sizes)[:-1]))
        self._rows = pl.concat(kept).select("open_ms", *PRICES)
        self._whole = self._windows(np.arange(len(self._rows)), self._sizes)

    def reaches(self, seen: int) -> bool:
        """Whether some market has twice as many candles, which a drift needs."""
        return bool(np.any(self._sizes >= 2 * seen))

    def drifts(self, column: pl.Expr, seen: Iterable[int]) -> Mapping[int, float | None]:
        """The drift of a column by number of candles seen; None where no market has twice as many.

        Infinite where one of both values is absent.
        """
        whole = _values(self._whole, column)
        largest = np.maximum.reduceat(np.nan_to_num(np.abs(whole)), self._starts, axis=1)
        scale = np.repeat(largest, self._sizes, axis=1)
        return {n: self._drift(column, n, whole, scale) if self.reaches(n) else None for n in seen}

    def _drift(self, column: pl.Expr, seen: int, whole: Floats, scale: Floats) -> float:
        ends = self._ends(seen)
        rows = (ends[:, None] + np.arange(1 - seen, 1)).ravel()
        found = _values(self._windows(rows, np.full(len(ends), seen)), column)[:, seen - 1 :: seen]
        expected, scale = whole[:, ends], scale[:, ends]
        if np.any(np.isnan(found) != np.isnan(expected)):
            return math.inf
        away = np.nan_to_num(np.abs(found - expected))
        return float(np.max(np.divide(away, scale, out=np.zeros(away.shape), where=scale > 0)))

    def _ends(self, seen: int) -> Ints:
        """Rows that have twice as many candles behind them, spread over the markets."""
        enough = np.flatnonzero(self._sizes >= 2 * seen)
        each = SAMPLES // len(enough)
        spread = [np.linspace(2 * seen - 1, self._sizes[one] - 1, each) + self._starts[one] for one in enough]
        return np.unique(np.concatenate(spread).astype(np.int64))

    def _windows(self, rows: Ints, sizes: Ints) -> pl.DataFrame:
        """The frame `frames.py` describes, of windows of so many rows each, as far as indicators read it."""
        window = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
        preceding = np.concatenate([np.arange(size, dtype=np.uint32) for size in sizes])
        frame = self._rows[rows].with_columns(pl.Series("window", window), pl.Series("preceding", preceding))
        return frame.with_columns(pl.col("window").set_sorted())


def _values(frame: pl.DataFrame, column: pl.Expr) -> Floats:
    """A column's values of shape (fields, rows), one field unless it is a struct; NaN where it has none."""
    found = frame.select(column)
    if isinstance(found.dtypes[0], pl.Struct):
        found = found.unnest(found.columns)
    return found.select(pl.all().cast(pl.Float64).fill_null(math.nan)).to_numpy().T
