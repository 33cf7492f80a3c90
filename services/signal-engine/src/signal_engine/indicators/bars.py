"""Whole frames as arrays, for what an expression cannot say: one pass over all windows at once.

Everything here looks back, and never beyond a row's own window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REACH_CANDLES = 100
"""How long a mark (a swing, a break, a zone) counts after it was confirmed. It makes the memory of structure finite."""


BESIDE = ("close", "close@market", "preceding")
"""Columns of a symbol and of the reference of its market, for those who look at both."""


class Placed(Protocol):
    """Rows that know their place in their window."""

    @property
    def preceding(self) -> Ints: ...


class Bars(NamedTuple):
    """Columns of a frame of windows, each of shape (rows,); `preceding` counts the rows before one in its window."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    preceding: Ints

    @classmethod
    def of(cls, columns: Sequence[pl.Series]) -> Bars:
        """The columns in the order of the fields."""
        opens, high, low, close, volume, preceding = (column.to_numpy() for column in columns)
        return cls(opens, high, low, close, volume, preceding.astype(np.int64))

    @property
    def rows(self) -> Ints:
        return np.arange(len(self.preceding))

    def mirrored(self) -> Bars:
        """Upside down: what was a high is a low, what rose falls. Prices of the mirror are negative."""
        return self._replace(open=-self.open, high=-self.low, low=-self.high, close=-self.close)


def mean_of_last(bars: Placed, values: Floats, period: int) -> Floats:
    """Mean of the `period` values up to each row, NaN before there are.

    Added up as sums of 1, 2, 4 ... rows: an order that is the same for every row, so that a mean knows nothing of what
    came before its values, which a running total carries along in its rounding.
    """
    rows = len(values)
    total, covered, block, size = np.zeros(rows), 0, values, 1
    while size <= period:
        if period & size:
            total[covered:] += block[: max(rows - covered, 0)]
            covered += size
        longer = block.copy()
        longer[size:] += block[: max(rows - size, 0)]
        block, size = longer, 2 * size
    return np.where(bars.preceding >= period - 1, total / period, np.nan)


@runtime_checkable
class LooksBack(Protocol):
    """A column whose value is the same on any rows that reach back to all it remembers."""

    @property
    def expr(self) -> pl.Expr:
        """The column as an expression over the frame of windows."""

    def at(self, bars: Bars, rows: Ints) -> pl.Series:
        """Its values in some rows only, which are what the expression gives there."""


class OverBars:
    """A column of a computation over the whole frame; null where it gives NaN. See `LooksBack`."""

    def __init__(self, compute: Callable[[Bars], Floats]) -> None:
        self._compute = compute

    @property
    def expr(self) -> pl.Expr:
        return pl.map_batches(list(Bars._fields), self._evaluate, return_dtype=pl.Float64)

    def at(self, bars: Bars, rows: Ints) -> pl.Series:
        return pl.Series(self._compute(bars)[rows], nan_to_null=True)

    def _evaluate(self, columns: Sequence[pl.Series]) -> pl.Series:
        return pl.Series(self._compute(Bars.of(columns)), nan_to_null=True)


def looks_back(column: pl.Expr) -> bool:
    """Whether this is a column of all fields of `Bars`, or of BESIDE: its value is the same on any rows that reach back
    to all it remembers."""
    inputs = column.meta.undo_aliases().meta.pop()
    names = {one.meta.output_name() for one in inputs if one.meta.is_column()}
    return len(names) == len(inputs) and names in ({*Bars._fields}, {*BESIDE})
