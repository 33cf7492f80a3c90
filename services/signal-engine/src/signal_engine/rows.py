"""The candles of a window in memory that is not moved for each new one.

What a `Rows` shows never changes: one that candles are appended to gives another, which shares the memory and shows
more of it. So whoever holds one (a snapshot that is being saved, a copy of a window) may read it at any time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from signal_engine.indicators.bars import Floats, Ints

SLACK_CANDLES = 32
"""Candles that find room behind the others before all have to be moved."""

COLUMNS: Final = 5
"""Open, high, low, close, volume."""


class Rows:
    """Rows of one series, oldest first: open times in ms, and values of shape (COLUMNS, rows)."""

    __slots__ = ("_room", "_start", "opens", "values")

    def __init__(self, opens: Ints, values: Floats, *, more: int = 0) -> None:
        """A copy, with room for some more."""
        rows = len(opens)
        self._room, self._start = _Room(rows + more + SLACK_CANDLES), 0
        self._room.write(opens, values)
        self._show(rows)

    def appended(self, opens: Ints, values: Floats) -> Rows:
        """These, and others after them."""
        room, rows, more = self._room, len(self.opens), len(opens)
        if room.used != self._start + rows or room.used + more > len(room.opens):
            longer = Rows(self.opens, self.values, more=more)
            return longer.appended(opens, values)
        room.write(opens, values)
        return self._showing(self._start, rows + more)

    def inserted(self, places: Ints, opens: Ints, values: Floats) -> Rows:
        """These, with others in between (see `numpy.insert`)."""
        return Rows(np.insert(self.opens, places, opens), np.insert(self.values, places, values, axis=1))

    def without(self, first: int) -> Rows:
        """All but the first ones."""
        if self._start + first > SLACK_CANDLES:
            return Rows(self.opens[first:], self.values[:, first:])
        return self._showing(self._start + first, len(self.opens) - first)

    def _showing(self, start: int, rows: int) -> Rows:
        other = Rows.__new__(Rows)
        other._room, other._start = self._room, start
        other._show(rows)
        return other

    def _show(self, rows: int) -> None:
        end = self._start + rows
        self.opens = self._room.opens[self._start : end]
        self.values = self._room.values[:, self._start : end]


class _Room:
    """Memory for rows, of which the first `used` have been written."""

    __slots__ = ("opens", "used", "values")

    def __init__(self, rows: int) -> None:
        self.opens: Ints = np.empty(rows, np.int64)
        self.values: Floats = np.empty((COLUMNS, rows))
        self.used = 0

    def write(self, opens: Ints, values: Floats) -> None:
        end = self.used + len(opens)
        self.opens[self.used : end], self.values[:, self.used : end] = opens, values
        self.used = end


NOTHING = Rows(np.empty(0, np.int64), np.empty((COLUMNS, 0)))
