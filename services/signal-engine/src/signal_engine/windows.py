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

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAME_MS

BLOCK_CANDLES = 128

KEPT_CANDLES = 8
"""Candles before the newest whose own windows are kept whole: a lower timeframe may still look at them (at most
LOOK_BACK_CANDLES of its own candles back)."""

PART_ROWS = 262_144
"""Rows of one frame, and one window more: a column takes 2 MB. All that is computed of it stays near the processor, and
is soon forgotten."""

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


class Windows:
    """All windows, and the frame of what is pending in them.

    `judged` are the timeframes whose candles are evaluated; those of others are only looked at by them. Windows hold
    `warm_up_candles` before their block, or `kept_candles` where somebody asks for frames that reach farther back.
    """

    def __init__(self, warm_up_candles: int, judged: Collection[str], *, kept_candles: int = 0) -> None:
        self.series: list[Series] = []
        self.pending = 0
        self.kept_candles = max(warm_up_candles, kept_candles)
        self._warm_up_candles = warm_up_candles
        self._judged = judged
        self._windows: dict[Series, tuple[int, Window]] = {}
        self._dirty: dict[int, Window] = {}

    def newest_ms(self, series: Series) -> int:
        """Open time of the newest candle of a series; -1 when there is none."""
        found = self._windows.get(series)
        return found[1].newest_ms if found else -1

    def add(self, event: CandlesClosed, *, pending: bool) -> Added:
        """Take in one message of candles in ascending order; `pending` ones will be in the next frame."""
        series = Series(event.exchange, event.symbol, event.timeframe)
        number, window = self._windows.get(series) or self._open(series)
        values = np.array((event.open, event.high, event.low, event.close, event.volume))
        added = window.add(np.array(event.open_ms, np.int64), values, pending=pending)
        if pending and added.fresh:
            self._dirty[number] = window
            self.pending += added.fresh
        return added

    def hold(self, time_ms: int, higher: Mapping[str, Collection[str]]) -> None:
        """Let pending candles wait that end after `time_ms` and whose higher candle, of any timeframe that `higher`
        names for theirs, is not there yet. What ends by then has been waited for long enough: it is missing."""
        for window in self._dirty.values():
            if window.newest_ms + window.series.length_ms > time_ms:
                window.held = window.unseen(time_ms, self._above(window.series, higher)) & window.pending

    def resume(self, time_ms: int, higher: Mapping[str, Collection[str]]) -> None:
        """After a restart: what waited at a mark of `time_ms` is pending again."""
        for number, window in self._windows.values():
            if window.series.timeframe in self._judged:
                window.pending = window.unseen(time_ms, self._above(window.series, higher))
                if waiting := int(np.count_nonzero(window.pending)):
                    self._dirty[number] = window
                    self.pending += waiting

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows needed to evaluate what is pending and does not wait, until `settle`; in parts of whole windows.

        Columns: series (index into `self.series`, u32), window (one per series and block, u32), open_ms (i64),
        PRICES (f64), new (evaluate this row, bool), preceding (rows before it in its window, u32). Rows of a window are
        contiguous, oldest first.
        """
        return framed(self._evaluated(), self._warm_up_candles)

    def copies(self) -> list[tuple[int, Window]]:
        """The windows of these frames as they are now, for others that are made later (`framed`)."""
        return [(number, copy(window)) for number, window in self._evaluated()]

    def ending_after(self, time_ms: int) -> list[tuple[int, Window]]:
        """Copies of the windows judged, with what ends after a time as pending, unless it is pending anyway."""
        found = []
        for number, window in self._windows.values():
            if window.newest_ms + window.series.length_ms > time_ms and window.series.timeframe in self._judged:
                found.append((number, one := copy(window)))
                one.pending = window.ending_after(time_ms) & ~window.pending
        return found

    def _evaluated(self) -> list[tuple[int, Window]]:
        return [one for one in sorted(self._dirty.items()) if one[1].series.timeframe in self._judged]

    def candles_of(self, timeframe: str, wanted: pl.DataFrame) -> tuple[Iterable[pl.DataFrame], Sequence[Series]]:
        """See `higher.CandlesOf`."""
        opens: dict[Series, list[int]] = defaultdict(list)
        for exchange, symbol, open_ms in wanted.iter_rows():
            opens[Series(exchange, symbol, timeframe)].append(open_ms)
        parts = []
        for series, times in opens.items():
            number, window = self._windows.get(series) or (0, None)
            if window is not None:
                mask = window.opened(np.array(times, np.int64))
                parts += [(number, window, part) for part in window.anchored(mask, self._warm_up_candles)]
        return _frames(parts), self.series

    def settle(self) -> None:
        """What the last frames held has been evaluated."""
        self._dirty = {number: window for number, window in self._dirty.items() if not window.settle()}
        self.pending = sum(int(np.count_nonzero(window.pending)) for window in self._dirty.values())

    def clear(self) -> None:
        """Forget every candle."""
        self.pending = 0
        for known in (self.series, self._windows, self._dirty):
            known.clear()

    def export(self) -> list[tuple[Series, Candles]]:
        """Every window as it is now; cheap, because nothing is copied."""
        return [(series, Candles(window.opens, window.values)) for series, (_, window) in self._windows.items()]

    def restore(self, series: Series, candles: Candles) -> None:
        """Begin a window with candles that an earlier run had in it."""
        _, window = self._open(series)
        window.add(candles.opens, candles.values, pending=False)

    def _open(self, series: Series) -> tuple[int, Window]:
        self._windows[series] = (len(self.series), Window(series, self.kept_candles))
        self.series.append(series)
        return self._windows[series]

    def _above(self, series: Series, higher: Mapping[str, Collection[str]]) -> list[tuple[int, Ints]]:
        """Length and open times of the candles of the higher timeframes of a series."""
        found = []
        for timeframe in higher.get(series.timeframe, ()):
            _, window = self._windows.get(series._replace(timeframe=timeframe)) or (0, None)
            found.append((TIMEFRAME_MS[timeframe], window.opens if window else np.empty(0, np.int64)))
        return found


def _are_among(times: Ints, opens: Ints) -> Bools:
    """Which times are among ascending ones."""
    if not len(opens):
        return np.zeros(len(times), np.bool_)
    found: Bools = opens[np.minimum(opens.searchsorted(times), len(opens) - 1)] == times
    return found


def framed(windows: Sequence[tuple[int, Window]], warm_up_candles: int) -> Iterator[pl.DataFrame]:
    """The frames `Windows.frames` describes, of some windows by their numbers, reaching so many candles back."""
    return _frames(
        [
            (number, window, part)
            for number, window in windows
            for part in window.anchored(window.ready, warm_up_candles)
        ]
    )


def _frames(parts: Sequence[tuple[int, Window, Anchored]]) -> Iterator[pl.DataFrame]:
    first = rows = 0
    for end, (_, _, part) in enumerate(parts, 1):
        rows += part.hi - part.lo
        if rows >= PART_ROWS or end == len(parts):
            yield _frame(parts[first:end], first)
            first, rows = end, 0


def _frame(parts: Sequence[tuple[int, Window, Anchored]], first: int) -> pl.DataFrame:
    """One frame; `first` is the number of its first window."""
    sizes = [part.hi - part.lo for _, _, part in parts]
    values = np.concatenate([window.values[:, part.lo : part.hi] for _, window, part in parts], axis=1)
    starts = np.cumsum(sizes) - sizes
    preceding = (np.arange(values.shape[1]) - np.repeat(starts, sizes)).astype(np.uint32)
    columns = {
        "series": np.repeat(np.array([number for number, _, _ in parts], np.uint32), sizes),
        "window": np.repeat(np.arange(first, first + len(parts), dtype=np.uint32), sizes),
        "open_ms": np.concatenate([window.opens[part.lo : part.hi] for _, window, part in parts]),
        **dict(zip(PRICES, values, strict=True)),
        "new": np.concatenate([part.new for _, _, part in parts]),
        "preceding": preceding,
    }
    return pl.DataFrame(columns).with_columns(pl.col("window").set_sorted())


def blank() -> pl.DataFrame:
    """A frame of one row: what there is to know of columns where no candle is."""
    window = Window(Series("", "", "1m"), 0)
    window.add(np.zeros(1, np.int64), np.ones((len(PRICES), 1)), pending=False)
    return _frame([(0, window, Anchored(0, 1, np.ones(1, np.bool_)))], 0)
