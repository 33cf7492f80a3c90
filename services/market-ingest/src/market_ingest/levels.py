"""One timeframe of one instrument: rows go in, closed candles come out, and at most one candle is open."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from market_ingest import exact
from market_ingest.columns import NO_CANDLES, UNCOUNTED, Candles, Ints, join
from market_ingest.validate import END_OF_TIME_MS
from tocsin_common.events import Origin
from tocsin_trading.timeframes import TIMEFRAME_MS

FEW_ROWS = 8
"""Up to this many rows plain Python is faster than columns: what arrives together in a live market."""


_WHOLE = np.zeros(1, np.int64)
"""Where segments begin, if there is one."""


@dataclass(slots=True)
class _OpenCandle:
    """The candle in the making; `volume` is exact."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    trades: int

    def include(self, later: _OpenCandle) -> None:
        """Add what came later in the same interval: what traded replaces silence, and silence adds nothing to what
        traded."""
        if not later.volume and self.volume:
            return
        if later.volume and not self.volume:
            self.open, self.high, self.low, self.trades = later.open, later.high, later.low, 0
        self.high, self.low, self.close = max(self.high, later.high), min(self.low, later.low), later.close
        self.volume = exact.add(self.volume, later.volume)
        self.trades = UNCOUNTED if UNCOUNTED in (self.trades, later.trades) else self.trades + later.trades

    def trade(self, prices: list[float], amounts: list[float]) -> None:
        """Add trades that came later in the same interval, if it is made of trades."""
        self.high, self.low, self.close = max(self.high, *prices), min(self.low, *prices), prices[-1]
        self.volume = exact.total(self.volume, amounts)
        self.trades += len(prices)

    def write(self, candles: Candles) -> None:
        """Into the first of some candles."""
        candles.open[0], candles.high[0], candles.low[0], candles.close[0] = self.open, self.high, self.low, self.close
        candles.volume[0], candles.trades[0] = float(self.volume), self.trades

    def finished(self) -> Candles:
        """As columns of one row."""
        columns = (self.open, self.high, self.low, self.close, float(self.volume))
        first, high, low, close, volume = (np.array([value]) for value in columns)
        return Candles(np.array([self.open_ms]), first, high, low, close, volume, np.array([self.trades]))


class Level:
    """The candles of one instrument and timeframe: at most one is open, and nothing before `closed_ms` can change."""

    def __init__(self, timeframe: str) -> None:
        self.timeframe = timeframe
        self.length_ms = TIMEFRAME_MS[timeframe]
        self.closed_ms = 0
        self.origin: Origin = "trades"
        self._open: _OpenCandle | None = None

    @property
    def open_ms(self) -> int | None:
        """Open time of the candle in the making."""
        return self._open.open_ms if self._open else None

    def add(self, rows: Candles) -> tuple[Candles, int]:
        """Take rows in the order of their happening; returns the candles that closed and how many rows were late."""
        if len(rows) <= FEW_ROWS:
            return self._add_few(rows)
        if exact.fits(rows.volume):
            return self._add(rows)
        parts = [self._add(rows.rows(slice(at, at + 4096))) for at in range(0, len(rows), 4096)]
        return join([closed for closed, _ in parts]), sum(late for _, late in parts)

    def close_through(self, end_ms: int) -> Candles:
        """Close the open candle if it ends at `end_ms` or before."""
        if self._open is None or self._open.open_ms + self.length_ms > end_ms:
            return NO_CANDLES
        closed = self._open.finished()
        self.closed_ms = self._open.open_ms + self.length_ms
        self._open = None
        return closed

    def settle(self, candles: Candles) -> None:
        """These candles are closed, and published."""
        self.closed_ms = int(candles.open_ms[-1]) + self.length_ms

    def replace(self, candles: Candles) -> Candles:
        """Candles that come closed: they take the place of the open one. Returns all that closed by this."""
        last_ms = int(candles.open_ms[-1])
        if self.open_ms is not None and self.open_ms <= last_ms:
            made_here = self.close_through(END_OF_TIME_MS)
            if made_here.open_ms[0] not in candles.open_ms:
                candles = join([candles, made_here])
                candles = candles.rows(np.argsort(candles.open_ms, kind="stable"))
        self.closed_ms = last_ms + self.length_ms
        return candles

    def _add_few(self, rows: Candles) -> tuple[Candles, int]:
        closed: list[Candles] = []
        late = 0
        columns = (rows.open_ms, rows.open, rows.high, rows.low, rows.close, rows.volume, rows.trades)
        for ts_ms, first, high, low, close, volume, trades in zip(*[one.tolist() for one in columns], strict=True):
            open_ms = ts_ms // self.length_ms * self.length_ms
            if open_ms < self._floor_ms:
                late += 1
                continue
            closed += self._take(_OpenCandle(open_ms, first, high, low, close, Decimal(repr(volume)), trades))
        return join(closed) if closed else NO_CANDLES, late

    def _add(self, rows: Candles) -> tuple[Candles, int]:
        whole = self._as_one(rows)
        if whole is not None:
            closed = self._take(whole)
            return join(closed) if closed else NO_CANDLES, 0
        opens = rows.open_ms // self.length_ms * self.length_ms
        late_rows = 0
        if opens[0] < self._floor_ms or (opens[1:] < opens[:-1]).any():
            late = opens < np.maximum.accumulate(np.maximum(opens, self._floor_ms))
            late_rows = int(np.count_nonzero(late))
            rows, opens = rows.rows(~late), opens[~late]
        if not len(rows):
            return NO_CANDLES, late_rows
        if not rows.volume.all():
            rows, opens = _heard(rows, opens, rows.volume == 0.0)
        return self._segment(rows, opens), late_rows

    def _as_one(self, rows: Candles) -> _OpenCandle | None:
        """Rows of one interval as one candle: most of what comes together in a busy market is, and it takes two thirds
        of the time. None: there are several intervals, one that is over, or silence among the rows."""
        open_ms = int(rows.open_ms.min()) // self.length_ms * self.length_ms
        if open_ms < self._floor_ms or rows.open_ms.max() >= open_ms + self.length_ms or not rows.volume.all():
            return None
        prices = (float(rows.open[0]), float(rows.high.max()), float(rows.low.min()), float(rows.close[-1]))
        volume = exact.segment_sums(rows.volume, _WHOLE).exact(0)
        return _OpenCandle(open_ms, *prices, volume, int(_counts(rows.trades, _WHOLE)[0]))

    def _segment(self, rows: Candles, opens: Ints) -> Candles:
        """Cut rows into candles: the first may go on with the open one, the last stays open."""
        starts = _starts(opens)
        ends = np.concatenate((starts[1:], [len(opens)])) - 1
        sums = exact.segment_sums(rows.volume, starts)
        candles = Candles(
            opens[starts],
            rows.open[starts],
            np.maximum.reduceat(rows.high, starts),
            np.minimum.reduceat(rows.low, starts),
            rows.close[ends],
            sums.rounded(),
            _counts(rows.trades, starts),
        )
        last = len(starts) - 1
        goes_on = self.open_ms == opens[0]
        before = self._take(_opened(candles, 0, sums))
        if not last:
            return join(before) if before else NO_CANDLES
        if goes_on and self._open is not None:
            self._open.write(candles)
        self.closed_ms = int(candles.open_ms[last - 1]) + self.length_ms
        self._open = _opened(candles, last, sums)
        closed = candles.rows(slice(0, last))
        return join([*before, closed]) if before else closed

    def _take(self, later: _OpenCandle) -> list[Candles]:
        """Go on with the open candle, or close it (returned) and open the next."""
        if self._open is not None and self._open.open_ms == later.open_ms:
            self._open.include(later)
            return []
        closed = [self.close_through(END_OF_TIME_MS)] if self._open is not None else []
        self._open = later
        return closed

    @property
    def _floor_ms(self) -> int:
        """What opens before this is over."""
        return max(self.closed_ms, self.open_ms or 0)


def _opened(candles: Candles, at: int, sums: exact.SegmentSums) -> _OpenCandle:
    """One of some candles, its volume exact."""
    open_ms, first, high, low, close, _, trades = candles.row(at)
    return _OpenCandle(open_ms, first, high, low, close, sums.exact(at), trades)


def _starts(opens: Ints) -> Ints:
    """Where each run of equal open times begins."""
    return np.concatenate(([0], np.flatnonzero(opens[1:] != opens[:-1]) + 1))


def _counts(trades: Ints, starts: Ints) -> Ints:
    """Trades per candle; what has an uncounted part is uncounted."""
    if trades.min() > UNCOUNTED:
        return np.add.reduceat(trades, starts)
    unknown = np.minimum.reduceat(trades, starts) == UNCOUNTED
    return np.where(unknown, UNCOUNTED, np.add.reduceat(trades, starts))


def _heard(rows: Candles, opens: Ints, silent: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Candles, Ints]:
    """Leave silent rows out of candles that have others."""
    starts = _starts(opens)
    sizes = np.diff(np.append(starts, len(opens)))
    all_silent = np.repeat(np.logical_and.reduceat(silent, starts), sizes)
    keep = ~silent | all_silent
    return rows.rows(keep), opens[keep]
