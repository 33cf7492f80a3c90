"""Whole frames as arrays, for what an expression cannot say: one pass over all windows at once.

Everything here looks back, and never beyond a row's own window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REACH_CANDLES = 100
"""How long a mark (a swing, a break, a zone) counts after it was confirmed. It makes the memory of structure finite."""


class Bars(NamedTuple):
    """Columns of a frame of windows, each of shape (rows,); `preceding` counts the rows before one in its window."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    preceding: Ints

    @property
    def rows(self) -> Ints:
        return np.arange(len(self.preceding))

    def mirrored(self) -> Bars:
        """Upside down: what was a high is a low, what rose falls. Prices of the mirror are negative."""
        return self._replace(open=-self.open, high=-self.low, low=-self.high, close=-self.close)


class Mark(NamedTuple):
    """The latest event of each row's window, at most REACH_CANDLES old: in which row it was, and whether there is one.

    Where there is none, `row` is any row."""

    row: Ints
    found: Bools

    def take(self, values: Floats) -> Floats:
        """The value in the event's row, NaN where there is no event."""
        return np.where(self.found, values[self.row], np.nan)

    def age(self) -> Floats:
        """How many rows ago the event was, NaN where there is none."""
        return np.where(self.found, np.arange(len(self.row)) - self.row, np.nan)


def latest(bars: Bars, event: Bools) -> Mark:
    """The latest event at or before each row."""
    rows = bars.rows
    at = np.maximum.accumulate(np.where(event, rows, -1))
    return Mark(at, (at >= rows - bars.preceding) & (rows - at <= REACH_CANDLES))


def first_since(bars: Bars, event: Bools, mark: Mark) -> Bools:
    """Events with a mark, and none since the mark's row before this one."""
    before = np.roll(np.maximum.accumulate(np.where(event, bars.rows, -1)), 1)
    before[:1] = -1
    return event & mark.found & (before < mark.row)


def over_bars(compute: Callable[[Bars], Floats]) -> pl.Expr:
    """An expression of a computation over the whole frame; null where it gives NaN."""

    def evaluate(columns: Sequence[pl.Series]) -> pl.Series:
        opens, high, low, close, volume, preceding = (column.to_numpy() for column in columns)
        return pl.Series(compute(Bars(opens, high, low, close, volume, preceding.astype(np.int64))))

    return pl.map_batches(list(Bars._fields), evaluate, return_dtype=pl.Float64).fill_nan(None)
