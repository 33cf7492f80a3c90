"""Live windows as a frame, of which no more is put together than somebody looks at.

Most windows have one new candle, at their end, and their recursive columns are carried (`carrying.py`): of these only
the ends are taken. All others are put together whole. Both give the same values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.carrying import carry_on
from signal_engine.columns import Asked, Column, Whole, computed
from signal_engine.frames import Part, frame_of, in_frames
from signal_engine.indicators.bars import Bars
from signal_engine.indicators.recursive import KEPT_VALUES
from signal_engine.window import PRICES, Floats, Ints

MOST_NEW = 8
"""New candles that columns are carried on by, one after the other; to compute a window anew takes as long as 40."""


def live(parts: Sequence[Part]) -> Iterator[Live]:
    """Frames of parts of windows of one timeframe, as long as nothing is forgotten in them."""
    return (Live(some, first) for some, first in in_frames(parts))


class Live:
    """A `Frame` of parts of windows; `first` is the number of the first part."""

    def __init__(self, parts: Sequence[Part], first: int = 0) -> None:
        self._parts, self._first = parts, first

    @property
    def numbers(self) -> Iterable[int]:
        return [number for number, _, _ in self._parts]

    def whole(self) -> pl.DataFrame:
        """All rows."""
        return frame_of(self._parts, self._first)

    def near(self, columns: Sequence[Column], look_back: int) -> pl.DataFrame:
        asked = Asked.of(columns)
        reach = look_back + max([*asked.ends, *(column.by.candles for column in asked.stepwise.values())], default=0)
        usual, others, key = defaultdict[_Shape, list[Part]](list), list[Part](), asked.carried
        for part in self._parts:
            shape = _shape(part, key, look_back, reach)
            (usual[shape] if shape else others).append(part)
        found, first = [], self._first
        for shape, parts in usual.items():
            ends = _Ends(parts, shape, look_back, reach)
            if ends.finite:
                found.append(ends.near(asked, first))
                first += len(parts)
            else:
                others += parts
        if others:
            found.append(Whole(frame_of(others, first)).near(columns, look_back))
        return pl.concat(found, how="diagonal")


class _Shape(NamedTuple):
    """How many new candles a window ends with, and how many of these its columns are to be carried on by."""

    new: int
    steps: int


def _shape(part: Part, key: tuple[str, ...], look_back: int, reach: int) -> _Shape | None:
    """None where other candles are new, or `reach` are not before them, or the columns have not been carried there."""
    _, window, at = part
    before = at.hi - at.at_end
    if not 0 < at.at_end <= MOST_NEW or before - at.lo < max(reach, 1):
        return None
    if not key:
        return _Shape(at.at_end, 0)
    carried = window.carried.get(key)
    if carried is None or carried.block_ms != at.block_ms:
        return None
    for steps in range(at.at_end, -1, -1):
        if window.opens[at.hi - 1 - steps] == carried.through_ms:
            return _Shape(at.at_end, steps) if look_back + at.at_end - steps <= KEPT_VALUES else None
    return None


class _Ends:
    """The last rows of windows of one shape, with `reach` before the new ones; `look_back` of these are looked at."""

    def __init__(self, parts: Sequence[Part], shape: _Shape, look_back: int, reach: int) -> None:
        self._parts, self._shape, rows = parts, shape, look_back + shape.new
        self._sizes = np.array([part.hi - part.lo for _, _, part in parts])
        self._values = np.empty((len(PRICES), len(parts), reach + shape.new))
        self._opens = np.empty((len(parts), rows), np.int64)
        for at, (_, window, part) in enumerate(parts):
            self._values[:, at] = window.values[:, part.hi - reach - shape.new : part.hi]
            self._opens[at] = window.opens[part.hi - rows : part.hi]

    @property
    def finite(self) -> bool:
        """Whether all new candles are numbers; nothing goes on after others."""
        return bool(np.isfinite(self._values[:, :, -self._shape.new :]).all())

    def near(self, asked: Asked, first: int) -> pl.DataFrame:
        """See `Frame.near`; `first` is the number of the first window."""
        rows = self._opens.shape[1]
        found = [pl.Series(name, self._last(price, rows)) for name, price in asked.prices.items()]
        found += self._carried(asked, rows)
        for memory, columns in asked.ends.items():
            bars, places = self._bars(memory + rows), _last(len(self._parts), memory + rows, rows)
            found += [column.at(bars, places).alias(name) for name, column in columns.items()]
        if asked.whole:
            ends = np.cumsum(self._sizes)[:, None] - np.arange(rows, 0, -1)
            found += computed(frame_of(self._parts, first), asked.whole)[ends.ravel()].get_columns()
        return self._rows(rows, first).hstack(found)

    def _rows(self, rows: int, first: int) -> pl.DataFrame:
        parts, new = len(self._parts), np.arange(rows) >= rows - self._shape.new
        preceding = self._sizes[:, None] - np.arange(rows, 0, -1)
        columns = {
            "series": np.repeat(np.array([number for number, _, _ in self._parts], np.uint32), rows),
            "window": np.repeat(np.arange(first, first + parts, dtype=np.uint32), rows),
            "open_ms": self._opens.ravel(),
            **{name: self._last(name, rows) for name in PRICES},
            "new": np.tile(new, parts),
            "preceding": preceding.astype(np.uint32).ravel(),
        }
        return pl.DataFrame(columns).with_columns(pl.col("window").set_sorted())

    def _carried(self, asked: Asked, rows: int) -> list[pl.Series]:
        if not asked.carried:
            return []
        opens = self._opens[:, rows - self._shape.steps :]
        windows = [window for _, window, _ in self._parts]
        recursive, stepwise = carry_on(windows, asked, opens, self._values)
        found = [pl.Series(name, values[:, -rows:].ravel(), nan_to_null=True) for name, values in recursive.items()]
        for name, values in stepwise.items():
            last = values[:, :, -rows:].reshape(len(values), -1)
            found.append(asked.stepwise[name].by.column(last).alias(name))
        return found

    def _bars(self, rows: int) -> Bars:
        """The last rows of each, as a window of its own."""
        preceding = np.tile(np.arange(rows), len(self._parts))
        opens, high, low, close, volume = (self._last(name, rows) for name in PRICES)
        return Bars(opens, high, low, close, volume, preceding)

    def _last(self, price: str, rows: int) -> Floats:
        """The last rows of each, one after the other."""
        return self._values[PRICES.index(price), :, -rows:].ravel()


def _last(parts: int, size: int, rows: int) -> Ints:
    """The rows that are the last ones of each part."""
    return (np.arange(size - rows, size) + size * np.arange(parts)[:, None]).ravel()
