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

_Row = tuple[int, float, float, float, float, float, int]
"""One row of Candles."""

FEW_ROWS = 8
"""Up to this many rows plain Python is faster than columns: what arrives together in a live market."""


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

    def include(self, row: _Row) -> None:
        """Add one later row: what traded replaces silence, and silence adds nothing to what traded."""
        _, first, high, low, close, volume, trades = row
        if volume == 0.0 and self.volume:
            return
        if volume and not self.volume:
            self.open, self.high, self.low, self.trades = first, high, low, 0
        self.high, self.low, self.close = max(self.high, high), min(self.low, low), close
        self.volume = exact.add(self.volume, Decimal(repr(volume)))
        self.trades = UNCOUNTED if UNCOUNTED in (self.trades, trades) else self.trades + trades

    def row(self, volume: float) -> Candles:
        """As columns of one row, with the given volume."""
        prices = (np.array([price]) for price in (self.open, self.high, self.low, self.close))
        first, high, low, close = prices
        return Candles(np.array([self.open_ms]), first, high, low, close, np.array([volume]), np.array([self.trades]))

    def finished(self) -> Candles:
        return self.row(float(self.volume))


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
        if len(rows) < exact.MAX_ROWS:
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
        for row in zip(*(column.tolist() for column in columns), strict=True):
            open_ms = row[0] // self.length_ms * self.length_ms
            if open_ms < max(self.closed_ms, self.open_ms or 0):
                late += 1
                continue
            if self._open and open_ms > self._open.open_ms:
                closed.append(self.close_through(END_OF_TIME_MS))
            if self._open:
                self._open.include(row)
            else:
                _, first, high, low, close, volume, trades = row
                self._open = _OpenCandle(open_ms, first, high, low, close, Decimal(repr(volume)), trades)
        return join(closed) if closed else NO_CANDLES, late

    def _add(self, rows: Candles) -> tuple[Candles, int]:
        opens = rows.open_ms // self.length_ms * self.length_ms
        floor_ms = max(self.closed_ms, self.open_ms or 0)
        late = opens < np.maximum.accumulate(np.maximum(opens, floor_ms))
        late_rows = int(np.count_nonzero(late))
        if late_rows:
            rows, opens = rows.rows(~late), opens[~late]
        if not len(rows):
            return NO_CANDLES, late_rows
        before = self._open.volume if self._open else Decimal()
        silent = rows.volume == 0.0
        if self._open:
            rows = join([self._open.row(0.0), rows])
            opens = np.concatenate(([self._open.open_ms], opens))
            silent = np.concatenate(([before == 0], silent))
        if silent.any():
            rows, opens = _heard(rows, opens, silent)
        return self._segment(rows, opens, before), late_rows

    def _segment(self, rows: Candles, opens: Ints, before: Decimal) -> Candles:
        """Cut rows into candles; the first has `before` in its volume already, the last stays open."""
        starts = _starts(opens)
        ends = np.append(starts[1:], len(opens)) - 1
        sums = exact.segment_sums(rows.volume, starts)
        volume = sums.rounded()
        volume[0] = float(exact.add(before, sums.exact(0)))
        candles = Candles(
            opens[starts],
            rows.open[starts],
            np.maximum.reduceat(rows.high, starts),
            np.minimum.reduceat(rows.low, starts),
            rows.close[ends],
            volume,
            _counts(rows.trades, starts),
        )
        last = len(starts) - 1
        total = sums.exact(last) if last else exact.add(before, sums.exact(0))
        _, first, high, low, close, _, trades = candles.row(last)
        self._open = _OpenCandle(int(opens[-1]), first, high, low, close, total, trades)
        if last:
            self.closed_ms = int(candles.open_ms[last - 1]) + self.length_ms
        return candles.rows(slice(last))


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
