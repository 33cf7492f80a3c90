"""Live windows as a frame, of which no more is put together than somebody looks at.

Most windows have one new candle, at their end, and their recursive columns are carried (`carrying.py`): of these only
the ends are taken. All others are put together whole. Both give the same values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

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
        reach = look_back + max(asked.ends, default=0)
        usual, others = defaultdict[int, list[Part]](list), list[Part]()
        for part in self._parts:
            new = _new_at_end(part, tuple(asked.recursive), reach) if look_back <= KEPT_VALUES else 0
            (usual[new] if new else others).append(part)
        found, first = [], self._first
        for new, parts in usual.items():
            ends = _Ends(parts, new, reach)
            if ends.finite:
                found.append(ends.near(asked, look_back, first))
                first += len(parts)
            else:
                others += parts
        if others:
            found.append(Whole(frame_of(others, first)).near(columns, look_back))
        return pl.concat(found, how="diagonal")


def _new_at_end(part: Part, key: tuple[str, ...], reach: int) -> int:
    """How many new candles a part ends with, if these are all its new ones, there are `reach` before them, and the
    columns are carried to there; else 0."""
    _, window, at = part
    before = at.hi - at.at_end
    if not 0 < at.at_end <= MOST_NEW or before - at.lo < max(reach, 1):
        return 0
    if key:
        carried = window.carried.get(key)
        if carried is None or carried.block_ms != at.block_ms or carried.through_ms != window.opens[before - 1]:
            return 0
    return at.at_end


class _Ends:
    """The last rows of windows that each have `new` new candles at their end, and `reach` before these."""

    def __init__(self, parts: Sequence[Part], new: int, reach: int) -> None:
        self._parts, self._new = parts, new
        self._sizes = np.array([part.hi - part.lo for _, _, part in parts])
        self._values = np.empty((len(PRICES), len(parts), reach + new))
        self._opens = np.empty((len(parts), reach + new), np.int64)
        for at, (_, window, part) in enumerate(parts):
            self._values[:, at] = window.values[:, part.hi - reach - new : part.hi]
            self._opens[at] = window.opens[part.hi - reach - new : part.hi]

    @property
    def finite(self) -> bool:
        """Whether all new candles are numbers; nothing goes on after others."""
        return bool(np.isfinite(self._values[:, :, -self._new :]).all())

    def near(self, asked: Asked, look_back: int, first: int) -> pl.DataFrame:
        """See `Frame.near`; `first` is the number of the first window."""
        rows = look_back + self._new
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
        parts, new = len(self._parts), np.arange(rows) >= rows - self._new
        preceding = self._sizes[:, None] - np.arange(rows, 0, -1)
        columns = {
            "series": np.repeat(np.array([number for number, _, _ in self._parts], np.uint32), rows),
            "window": np.repeat(np.arange(first, first + parts, dtype=np.uint32), rows),
            "open_ms": self._opens[:, -rows:].ravel(),
            **{name: self._last(name, rows) for name in PRICES},
            "new": np.tile(new, parts),
            "preceding": preceding.astype(np.uint32).ravel(),
        }
        return pl.DataFrame(columns).with_columns(pl.col("window").set_sorted())

    def _carried(self, asked: Asked, rows: int) -> list[pl.Series]:
        if not asked.recursive:
            return []
        opens = self._opens[:, -self._new :]
        candles = dict(zip(PRICES, self._values[:, :, -self._new :], strict=True), open_ms=opens)
        values = carry_on([window for _, window, _ in self._parts], asked.recursive, opens, candles)[:, :, -rows:]
        named = zip(asked.recursive, values, strict=True)
        return [pl.Series(name, column.ravel(), nan_to_null=True) for name, column in named]

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
