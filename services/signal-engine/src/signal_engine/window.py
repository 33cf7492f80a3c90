"""Candle windows per instrument and timeframe, anchored so that a value never depends on when it was computed.

Time is cut into blocks of BLOCK_CANDLES candles of the timeframe, counted from the epoch. Every candle of a block is
evaluated on the rows from `warm_up_candles` before the block's start: recursions and rolling sums always begin at
that anchor. So a candle's indicators depend on candle data alone: not on messages, rounds or restarts, and one query
over all of history gives the same bytes (`history.py`). How long the warm-up is follows from the strategies alone
(`Evaluation.warm_up_candles`).

A window takes 48 bytes a row and holds at most the warm-up, a block, KEPT_CANDLES and some room for more (`rows.py`):
at the 384 candles that the defaults need, 27 kB an instrument and timeframe, thus 270 MB for 2,000 instruments in 5
timeframes.

Which candles count is decided by stream order: a candle is evaluated on those that came before it on the stream.
A duplicate is ignored. A late candle (older than the newest of its series) joins the window for the candles that
come after it, and raises no signal itself: its moment has passed. One older than the window is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from signal_engine.carried import Carried
from signal_engine.rows import NOTHING
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
    """Rows lo..hi of a window: the block of `block_ms` with its warm-up. Those to evaluate are its last `at_end`, or,
    where this is 0, what `mask` marks."""

    lo: int
    hi: int
    block_ms: int
    at_end: int
    mask: Bools | None = None

    @property
    def new(self) -> Bools:
        """Which rows are to be evaluated."""
        if self.mask is not None:
            return self.mask
        return np.arange(self.lo - self.hi, 0) >= -self.at_end


class Window:
    """The last candles of one series, and which of them are pending: `held` ones of these wait, or all do if it `waits`
    (see `Windows.hold`). `carried` is how far columns have come, by the names of those that are carried together (see
    `carrying.py`).

    Arrays are replaced, never changed in place (see `rows.py`).
    """

    def __init__(self, series: Series, warm_up_candles: int) -> None:
        self.series = series
        self.held: Bools | None = None
        self.waits = False
        self.carried: dict[tuple[str, ...], Carried] = {}
        self.newest_ms = -1
        """Open time of the newest candle; before the first candle, earlier than any."""
        self._rows = NOTHING
        self._at_end = 0
        self._mask: Bools | None = None
        self._length_ms = series.length_ms
        self._block_ms = BLOCK_CANDLES * self._length_ms
        self._warm_up_ms = warm_up_candles * self._length_ms

    @property
    def opens(self) -> Ints:
        """Open times, oldest first."""
        return self._rows.opens

    @property
    def values(self) -> Floats:
        """Of shape (5, rows), in the order of PRICES."""
        return self._rows.values

    @property
    def next_block_ms(self) -> int:
        """Where the block begins that the next candle is of, if none is missing."""
        return (self.newest_ms + self._length_ms) // self._block_ms * self._block_ms

    @property
    def pending(self) -> Bools:
        """Which candles are: the last `_at_end`, or those of `_mask`."""
        if self._mask is not None:
            return self._mask
        return np.arange(-len(self.opens), 0) >= -self._at_end

    @pending.setter
    def pending(self, pending: Bools) -> None:
        self._mask = pending

    @property
    def ready(self) -> Bools:
        """Pending candles that are not held."""
        return self.pending if self.held is None else self.pending & ~self.held

    @property
    def pending_count(self) -> int:
        """How many candles are pending."""
        return self._at_end if self._mask is None else int(np.count_nonzero(self._mask))

    @property
    def only_newest_pending(self) -> bool:
        """As when live: nothing is pending but the newest candle."""
        return self._mask is None and self._at_end == 1

    def has(self, open_ms: int) -> bool:
        """Whether there is a candle that opened then."""
        return open_ms == self.newest_ms or bool(_are_among(np.array([open_ms]), self.opens)[0])

    def add(self, opens: Ints, values: Floats, *, pending: bool) -> Added:
        """Take in candles in ascending order; only those newer than the newest become pending."""
        old = int(opens.searchsorted(self.newest_ms, side="right"))
        fresh = len(opens) - old
        added = self._add_old(opens[:old], values[:, :old]) if old else Added()
        if fresh:
            self._append(opens[old:], values[:, old:], pending=pending)
        if not pending and not self._at_end and (self._mask is None or not self._mask.any()):
            self.trim()
        return added._replace(fresh=fresh) if old else Added(fresh)

    def _append(self, opens: Ints, values: Floats, *, pending: bool) -> None:
        fresh = len(opens)
        if self._mask is not None or (self._at_end and not pending):
            self.pending = np.concatenate((self.pending, np.full(fresh, pending)))
        elif pending:
            self._at_end += fresh
        self._rows = self._rows.appended(opens, values)
        self.newest_ms = int(opens[-1])

    def _add_old(self, opens: Ints, values: Floats) -> Added:
        """Insert late candles; what counts as too old follows from the newest candle, not from what was trimmed."""
        kept = opens >= self._anchor_ms(self.newest_ms)
        known = kept & np.isin(opens, self.opens)
        insert = kept & ~known
        if late := int(np.count_nonzero(insert)):
            self._insert(opens[insert], values[:, insert])
        return Added(duplicate=int(np.count_nonzero(known)), late=late, dropped=int(np.count_nonzero(~kept)))

    def _insert(self, opens: Ints, values: Floats) -> None:
        places = np.searchsorted(self.opens, opens)
        self.pending = np.insert(self.pending, places, False)
        self._rows = self._rows.inserted(places, opens, values)
        self.carried = {}

    def ready_parts(self, warm_up_candles: int) -> Iterable[Anchored]:
        """What is ready, as `anchored` has it."""
        if self._mask is None and self.held is None and self._at_end:
            return self._ending(self._at_end, warm_up_candles)
        return self.anchored(self.ready, warm_up_candles)

    def parts_opened(self, times: Sequence[int], warm_up_candles: int) -> Iterable[Anchored]:
        """The candles that opened at these times, ascending, as `anchored` has it."""
        opened, last = np.array(times, np.int64), times[-1] == self.newest_ms
        if last and np.array_equal(self.opens[-len(times) :], opened):
            return self._ending(len(times), warm_up_candles)
        wanted = np.zeros(len(self.opens), np.bool_)
        wanted[np.searchsorted(self.opens, opened[_are_among(opened, self.opens)])] = True
        return self.anchored(wanted, warm_up_candles)

    def _ending(self, count: int, warm_up_candles: int) -> Iterable[Anchored]:
        """The last candles, as `anchored` has them: nearly always they are of one block."""
        block_ms = self.newest_ms // self._block_ms * self._block_ms
        if self.opens[-count] < block_ms:
            return self.anchored(np.arange(-len(self.opens), 0) >= -count, warm_up_candles)
        lo = int(self.opens.searchsorted(block_ms - warm_up_candles * self._length_ms))
        return [Anchored(lo, len(self.opens), block_ms, count)]

    def anchored(self, wanted: Bools, warm_up_candles: int) -> Iterator[Anchored]:
        """Every block that holds wanted candles, with so many candles of time before it."""
        opens = self.opens[wanted]
        while len(opens):
            block_ms = int(opens[0]) // self._block_ms * self._block_ms
            bounds = (block_ms - warm_up_candles * self._length_ms, block_ms, block_ms + self._block_ms)
            lo, start, hi = self.opens.searchsorted(bounds).tolist()
            new = wanted[lo:hi].copy()
            new[: start - lo] = False
            count = int(np.count_nonzero(new))
            yield Anchored(lo, hi, block_ms, count if new[hi - lo - count :].all() else 0, new)
            opens = opens[opens >= bounds[-1]]

    def ending_after(self, time_ms: int) -> Bools:
        """Which candles end after a time."""
        found = np.zeros(len(self.opens), np.bool_)
        found[np.searchsorted(self.opens, time_ms - self._length_ms, side="right") :] = True
        return found

    def settle(self) -> bool:
        """All pending candles that do not wait have been evaluated; says whether none is left."""
        if self.waits:
            self.waits = False
            return False
        self._mask, self._at_end, self.held = self.held, 0, None
        if self._mask is not None and self._mask.any():
            return False
        self._mask = None
        self.trim()
        return True

    def trim(self) -> None:
        """Forget what no later candle can need."""
        lo = int(self.opens.searchsorted(self._anchor_ms(self.newest_ms - KEPT_CANDLES * self._length_ms)))
        if lo:
            self._mask = None if self._mask is None else self._mask[lo:].copy()
            self._rows = self._rows.without(lo)

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
