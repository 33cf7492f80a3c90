"""The ends of windows: what is new in a frame, and no more of what came before than somebody looks at."""

from __future__ import annotations

import numpy as np
import polars as pl
from polars import selectors

from signal_engine.window import PRICES, Ints


class Tails:
    """The ends of one frame's windows (see `frames.py`)."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._new = np.flatnonzero(frame["new"].to_numpy())
        self._preceding = frame["preceding"].to_numpy()

    def rows(self, candles: int) -> Ints:
        """The new rows and so many before each, as far as their windows reach; ascending."""
        before = np.minimum(self._preceding[self._new], candles)
        before = np.minimum(before, np.diff(self._new, prepend=-1) - 1)  # the others are there already
        sizes = before + 1
        rows: Ints = np.arange(sizes.sum()) + np.repeat(self._new + 1 - np.cumsum(sizes), sizes)
        return rows

    def of(self, rows: Ints) -> pl.DataFrame:
        """PRICES, columns of the market, window and preceding of these rows, each stretch a window of its own."""
        begins = (self._preceding[rows] == 0) | (np.diff(rows, prepend=-2) != 1)
        starts, number = np.flatnonzero(begins), np.cumsum(begins) - 1
        window = pl.Series("window", number, pl.UInt32).set_sorted()
        preceding = pl.Series("preceding", np.arange(len(rows)) - starts[number], pl.UInt32)
        beside = self._frame.select(*PRICES, selectors.contains("@"))
        return beside[rows].with_columns(window, preceding)
