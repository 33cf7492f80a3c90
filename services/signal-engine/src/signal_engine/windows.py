"""Candle windows per instrument and timeframe, anchored so that a value never depends on when it was computed.

Time is cut into blocks of BLOCK_CANDLES candles of the timeframe, counted from the epoch. Every candle of a block is
evaluated on the rows from WARM_UP_CANDLES candles before the block's start: recursions and rolling sums always begin
at that anchor. So a candle's indicators depend on candle data alone: not on messages, rounds or restarts, and one
query over all of history gives the same bytes (`history.py`).

Which candles count is decided by stream order: a candle is evaluated on those that came before it on the stream.
A duplicate is ignored. A late candle (older than the newest of its series) joins the window for the candles that
come after it, and raises no signal itself: its moment has passed. One older than the window is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAME_MS

BLOCK_CANDLES = 128

WARM_UP_CANDLES = 224
"""The longest look-back a strategy may have. At a block's first candle a recursion has run this long: the weight
left to its seed is (1 - alpha)^224, that is 1e-4 for an EMA of 50, 3e-8 for an EMA of 26 and 6e-8 for Wilder's 14.
224 + 128 candles of 4h are 59 days, which CANDLES (60 days) still holds after a restart."""

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
    """The last candles of one series, and which of them are pending. Arrays are replaced, never changed in place."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.opens: Ints = np.empty(0, np.int64)
        self.values: Floats = np.empty((len(PRICES), 0))
        self.pending: Bools = np.empty(0, np.bool_)
        self._length_ms = series.length_ms
        self._block_ms = BLOCK_CANDLES * self._length_ms

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

    def anchored(self) -> Iterator[Anchored]:
        """Every block that holds pending candles, with its warm-up rows."""
        for block in sorted(set((self.opens[self.pending] // self._block_ms).tolist())):
            block_ms = block * self._block_ms
            bounds = (self._anchor_ms(block_ms), block_ms, block_ms + self._block_ms)
            lo, start, hi = (int(place) for place in np.searchsorted(self.opens, bounds))
            new = self.pending[lo:hi].copy()
            new[: start - lo] = False
            yield Anchored(lo, hi, new)

    def settle(self) -> None:
        """All pending candles have been evaluated."""
        self.pending = np.zeros(len(self.opens), np.bool_)
        self.trim()

    def trim(self) -> None:
        """Forget what no later candle can need: at most WARM_UP_CANDLES + BLOCK_CANDLES rows stay."""
        lo = int(np.searchsorted(self.opens, self._anchor_ms(self.newest_ms)))
        if lo:
            self.opens, self.pending = self.opens[lo:].copy(), self.pending[lo:].copy()
            self.values = self.values[:, lo:].copy()

    def _anchor_ms(self, open_ms: int) -> int:
        """Where the window of the block that contains `open_ms` begins."""
        return open_ms // self._block_ms * self._block_ms - WARM_UP_CANDLES * self._length_ms


class Windows:
    """All windows, and the frame of what is pending in them."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.pending = 0
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

    def frame(self) -> pl.DataFrame | None:
        """The rows needed to evaluate what is pending; None when nothing is.

        Columns: series (index into `self.series`, u32), window (one per series and block, u32), open_ms (i64),
        PRICES (f64), before (close of the row before in the window; its own open for the first; f64), new (evaluate
        this row, bool), preceding (rows before it in its window, u32). Rows of a window are contiguous, oldest first.
        """
        parts = [(number, window, part) for number, window in sorted(self._dirty.items()) for part in window.anchored()]
        if not parts:
            return None
        sizes = [part.hi - part.lo for _, _, part in parts]
        values = np.concatenate([window.values[:, part.lo : part.hi] for _, window, part in parts], axis=1)
        preceding = np.concatenate([np.arange(size, dtype=np.uint32) for size in sizes])
        opens, closes = values[PRICES.index("open")], values[PRICES.index("close")]
        columns = {
            "series": np.repeat(np.array([number for number, _, _ in parts], np.uint32), sizes),
            "window": np.repeat(np.arange(len(parts), dtype=np.uint32), sizes),
            "open_ms": np.concatenate([window.opens[part.lo : part.hi] for _, window, part in parts]),
            **dict(zip(PRICES, values, strict=True)),
            "new": np.concatenate([part.new for _, _, part in parts]),
            "before": np.where(preceding == 0, opens, np.roll(closes, 1)),
            "preceding": preceding,
        }
        return pl.DataFrame(columns).with_columns(pl.col("window").set_sorted())

    def settle(self) -> None:
        """What the last frame held has been evaluated."""
        for window in self._dirty.values():
            window.settle()
        self._dirty.clear()
        self.pending = 0

    def export(self) -> list[tuple[Series, Candles]]:
        """Every window as it is now; cheap, because nothing is copied."""
        return [(series, Candles(window.opens, window.values)) for series, (_, window) in self._windows.items()]

    def restore(self, series: Series, candles: Candles) -> None:
        """Begin a window with candles that an earlier run had in it."""
        _, window = self._open(series)
        window.add(candles.opens, candles.values, pending=False)

    def _open(self, series: Series) -> tuple[int, Window]:
        self._windows[series] = (len(self.series), Window(series))
        self.series.append(series)
        return self._windows[series]
