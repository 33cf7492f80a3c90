"""Candle windows per instrument and timeframe, anchored so that a value never depends on when it was computed.

Time is cut into blocks of BLOCK_CANDLES candles of the timeframe, counted from the epoch. Every candle of a block is
evaluated on the rows from `warm_up_candles` before the block's start: recursions and rolling sums always begin at
that anchor. So a candle's indicators depend on candle data alone: not on messages, rounds or restarts, and one query
over all of history gives the same bytes (`history.py`). How long the warm-up is follows from the strategies alone
(`Evaluation.warm_up_candles`).

A window takes 49 bytes a row and holds at most the warm-up, a block and KEPT_CANDLES: at the 384 candles that the
defaults need, 25 kB an instrument and timeframe, thus 250 MB for 2,000 instruments in 5 timeframes.

Which candles count is decided by stream order: a candle is evaluated on those that came before it on the stream.
A duplicate is ignored. A late candle (older than the newest of its series) joins the window for the candles that
come after it, and raises no signal itself: its moment has passed. One older than the window is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tocsin_trading.timeframes import TIMEFRAME_MS

BLOCK_CANDLES = 128

KEPT_CANDLES = 8
"""Candles before the newest whose own windows are kept whole: a lower timeframe may still look at them (at most
LOOK_BACK_CANDLES of its own candles back)."""

PRICES = ("open", "high", "low", "close", "volume")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Series(NamedTuple):
    """What one window is of."""

    exchange: str
    symbol: str
    timeframe: str

    @property
    def length_ms(self) -> int:
        return TIMEFRAME_MS[self.timeframe]


class Candles(NamedTuple):
    """Rows of one series, oldest first: open times in ms, and values of shape (5, rows) in the order of PRICES."""

    opens: Ints
    values: Floats


class Added(NamedTuple):
    """What became of the rows of one message; `late` ones joined the window, `dropped` ones were older than it."""

    fresh: int = 0
    duplicate: int = 0
    late: int = 0
    dropped: int = 0


class Anchored(NamedTuple):
    """Rows lo..hi of a window: one block with its warm-up; `new` marks those to evaluate."""

    lo: int
    hi: int
    new: Bools


class Window:
    """The last candles of one series, and which of them are pending; `held` ones of these wait (see `Windows.hold`).

    Arrays are replaced, never changed in place.
    """

    def __init__(self, series: Series, warm_up_candles: int) -> None:
        self.series = series
        self.held: Bools | None = None
        self.opens: Ints = np.empty(0, np.int64)
        self.values: Floats = np.empty((len(PRICES), 0))
        self.pending: Bools = np.empty(0, np.bool_)
        self._length_ms = series.length_ms
        self._block_ms = BLOCK_CANDLES * self._length_ms
        self._warm_up_ms = warm_up_candles * self._length_ms

    @property
    def newest_ms(self) -> int:
        """Open time of the newest candle; before the first candle, earlier than any."""
        return int(self.opens[-1]) if len(self.opens) else -1

    def add(self, opens: Ints, values: Floats, *, pending: bool) -> Added:
        """Take in candles in ascending order; only those newer than the newest become pending."""
        newest_ms, fresh = self.newest_ms, int(np.count_nonzero(opens > self.newest_ms))
        old = len(opens) - fresh
        added = self._add_old(opens[:old], values[:, :old], newest_ms) if old else Added()
        if fresh:
            self.opens = np.concatenate((self.opens, opens[old:]))
            self.values = np.concatenate((self.values, values[:, old:]), axis=1)
            self.pending = np.concatenate((self.pending, np.full(fresh, pending)))
        if not pending and not self.pending.any():
            self.trim()
        return added._replace(fresh=fresh)

    def _add_old(self, opens: Ints, values: Floats, newest_ms: int) -> Added:
        """Insert late candles; what counts as too old follows from the newest candle, not from what was trimmed."""
        kept = opens >= self._anchor_ms(newest_ms)
        known = kept & np.isin(opens, self.opens)
        insert = kept & ~known
        places = np.searchsorted(self.opens, opens[insert])
        self.opens = np.insert(self.opens, places, opens[insert])
        self.values = np.insert(self.values, places, values[:, insert], axis=1)
        self.pending = np.insert(self.pending, places, False)
        return Added(
            duplicate=int(np.count_nonzero(known)),
            late=int(np.count_nonzero(insert)),
            dropped=int(np.count_nonzero(~kept)),
        )

    @property
    def ready(self) -> Bools:
        """Pending candles that do not wait."""
        return self.pending if self.held is None else self.pending & ~self.held

    def anchored(self, wanted: Bools, warm_up_candles: int) -> Iterator[Anchored]:
        """Every block that holds wanted candles, with so many candles of time before it."""
        opens = self.opens[wanted]
        while len(opens):
            block_ms = int(opens[0]) // self._block_ms * self._block_ms
            bounds = (block_ms - warm_up_candles * self._length_ms, block_ms, block_ms + self._block_ms)
            lo, start, hi = self.opens.searchsorted(bounds).tolist()
            new = wanted[lo:hi].copy()
            new[: start - lo] = False
            yield Anchored(lo, hi, new)
            opens = opens[opens >= bounds[-1]]

    def opened(self, times: Ints) -> Bools:
        """Which candles opened at one of these times."""
        found = np.zeros(len(self.opens), np.bool_)
        found[np.searchsorted(self.opens, times[_are_among(times, self.opens)])] = True
        return found

    def ending_after(self, time_ms: int) -> Bools:
        """Which candles end after a time."""
        found = np.zeros(len(self.opens), np.bool_)
        found[np.searchsorted(self.opens, time_ms - self._length_ms, side="right") :] = True
        return found

    def settle(self) -> bool:
        """All ready candles have been evaluated; says whether none is left."""
        self.pending = np.zeros(len(self.opens), np.bool_) if self.held is None else self.held
        self.held = None
        if self.pending.any():
            return False
        self.trim()
        return True

    def trim(self) -> None:
        """Forget what no later candle can need."""
        lo = int(np.searchsorted(self.opens, self._anchor_ms(self.newest_ms - KEPT_CANDLES * self._length_ms)))
        if lo:
            self.opens, self.pending = self.opens[lo:].copy(), self.pending[lo:].copy()
            self.values = self.values[:, lo:].copy()

    def unseen(self, time_ms: int, higher: Sequence[tuple[int, Ints]]) -> Bools:
        """Candles that end after `time_ms` and miss a higher one: for each higher timeframe its length and opens."""
        missing = np.zeros(len(self.opens), np.bool_)
        first = int(self.opens.searchsorted(time_ms - self._length_ms, side="right"))
        ends = self.opens[first:] + self._length_ms
        for length_ms, opens in higher if len(ends) else ():
            missing[first:] |= ~_are_among(ends // length_ms * length_ms - length_ms, opens)
        return missing

    def _anchor_ms(self, open_ms: int) -> int:
        """Where the window of the block that contains `open_ms` begins."""
        return open_ms // self._block_ms * self._block_ms - self._warm_up_ms


def _are_among(times: Ints, opens: Ints) -> Bools:
    """Which times are among ascending ones."""
    if not len(opens):
        return np.zeros(len(times), np.bool_)
    found: Bools = opens[np.minimum(opens.searchsorted(times), len(opens) - 1)] == times
    return found
