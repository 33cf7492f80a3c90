"""The ends of windows: what is new in a frame, and no more of what came before than somebody looks at.

Indicators that sum up begin at their window's first row, always; but a column that only compares and copies has the
same value on any rows that reach back as far as it remembers (`bars.looks_back`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from polars import selectors

from signal_engine.windows import PRICES

Bools = npt.NDArray[np.bool_]

NEVER = 2**62
"""How far ahead a new row lies where there is none."""

PART_ROWS = 262_144
"""A column of so many rows takes 2 MB: all that is computed of them stays near the processor, and is soon forgotten."""


def parts_of(frame: pl.DataFrame, rows: int = PART_ROWS) -> Iterator[pl.DataFrame]:
    """A frame of windows in parts of whole ones, each of `rows` rows or one window more."""
    starts = np.flatnonzero(frame["preceding"].to_numpy() == 0)
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(frame), rows)))
    bounds = [*starts[cuts[cuts < len(starts)]].tolist(), len(frame)]
    for first, last in pairwise(bounds):
        yield frame[first:last]


class Tails:
    """Of one frame (see `Windows.frame`): how far each row lies before the next new one of its window."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        new, self._first = frame["new"].to_numpy(), frame["preceding"].to_numpy() == 0
        rows, starts = np.arange(len(frame)), np.flatnonzero(self._first)
        following = np.minimum.accumulate(np.where(new, rows, len(frame))[::-1])[::-1]
        sizes = np.diff(np.append(starts, len(frame)))
        inside = following < np.repeat(starts + sizes, sizes)
        self._ahead = np.where(inside, following - rows, NEVER)

    def within(self, candles: int) -> Bools:
        """The new rows and so many before each."""
        return self._ahead <= candles

    def of(self, candles: int) -> Tail:
        """The candles of these rows; each stretch of them is a window of its own."""
        kept = self.within(candles)
        rows = np.flatnonzero(kept)
        begins = self._first[rows] | (np.diff(rows, prepend=-2) != 1)
        starts, number = np.flatnonzero(begins), np.cumsum(begins) - 1
        window = pl.Series("window", number, pl.UInt32).set_sorted()
        preceding = pl.Series("preceding", np.arange(len(rows)) - starts[number], pl.UInt32)
        return Tail(self._frame.select(*PRICES, selectors.contains("@"))[rows].with_columns(window, preceding), kept)


class Tail(NamedTuple):
    """PRICES, columns of the market, window and preceding of some rows of a frame, and which rows those are."""

    frame: pl.DataFrame
    kept: Bools
