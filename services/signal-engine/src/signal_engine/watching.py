"""Live, what a replica keeps of every symbol of the market: which of its candles have been counted.

That is a byte a candle, on the span that windows reach over. Counted are the candles on the stream, each the first time
it comes; one that is older than the window of the last mark is not. So what there is to see at a mark follows from the
marks and the candles before it, whoever looks, and whether this life or an earlier one has counted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from signal_engine.market import COUNTS, VALUES, Market, Together
from signal_engine.window import BLOCK_CANDLES, KEPT_CANDLES, PRICES, Floats, Ints

BUFFER_CANDLES = 20_000
"""Candles that are counted at once, at most: few calls for many candles, and little memory."""

NEVER = -(2**30)
"""A place that no candle has."""


class _Counted(NamedTuple):
    """Messages of one symbol that have not been counted: its row, open times, and values in the order of PRICES."""

    row: int
    opens: Sequence[int] | Ints
    values: Sequence[Sequence[float]] | Floats


class Watched:
    """One market. A place is a multiple of the timeframe's length; the first one kept is `_first`."""

    def __init__(self, market: Market, warm_up_candles: int) -> None:
        self._market = market
        self._warm_up_candles = warm_up_candles
        self._rows: dict[str, int] = {}
        self._first, self._since = 0, NEVER
        self._seen = np.zeros((0, 0), np.bool_)
        self._values = np.empty((len(VALUES), 0))
        self._buffer: list[_Counted] = []
        self._buffered = 0

    def add(self, symbol: str, opens: Sequence[int] | Ints, values: Sequence[Sequence[float]] | Floats) -> None:
        """Take in candles of a symbol; `values` of shape (5, candles) in the order of PRICES."""
        row = self._rows.setdefault(symbol, len(self._rows))
        self._buffer.append(_Counted(row, opens, values))
        self._buffered += len(opens)
        if self._buffered >= BUFFER_CANDLES:
            self._count()

    def forget(self, time_ms: int) -> None:
        """Forget what no window of a candle needs that ends after `time_ms`, or KEPT_CANDLES before."""
        self._count()
        newest = time_ms // self._market.length_ms - KEPT_CANDLES
        since = newest // BLOCK_CANDLES * BLOCK_CANDLES - self._warm_up_candles
        if since > self._since:
            self._since = since
            gone = min(max(0, since - self._first), self._seen.shape[1])
            self._first += gone
            self._seen, self._values = self._seen[:, gone:].copy(), self._values[:, gone:].copy()

    def together(self) -> Together:
        """All that is known of the market."""
        self._count()
        there = np.flatnonzero(self._seen.any(axis=0))
        length_ms = self._market.length_ms
        return Together((self._first + there) * length_ms, self._values[:, there], self._since * length_ms)

    def _count(self) -> None:
        if not self._buffered:
            return
        sizes = [len(one.opens) for one in self._buffer]
        rows = np.repeat([one.row for one in self._buffer], sizes)
        opens = np.fromiter(chain.from_iterable(one.opens for one in self._buffer), np.int64)
        places = opens // self._market.length_ms
        values = np.stack([self._column(number) for number in range(len(PRICES))])
        self._buffer, self._buffered = [], 0
        kept = places >= self._since
        self._enter(rows[kept], places[kept], values[:, kept])

    def _column(self, number: int) -> Floats:
        return np.fromiter(chain.from_iterable(one.values[number] for one in self._buffer), np.float64)

    def _enter(self, rows: Ints, places: Ints, values: Floats) -> None:
        """Count what is not there yet; of several candles of one place the first."""
        if not len(rows):
            return
        self._make_room(int(places.min()), int(places.max()))
        at = places - self._first
        _, first = np.unique(rows * self._seen.shape[1] + at, return_index=True)
        fresh = first[~self._seen[rows[first], at[first]]]
        rows, at, values = rows[fresh], at[fresh], values[:, fresh]
        self._seen[rows, at] = True
        change = values[PRICES.index("close")] - values[PRICES.index("open")]
        for name, counts in zip(COUNTS, (change > 0, change < 0), strict=True):
            np.add.at(self._values[VALUES.index(name)], at, counts)
        reference = rows == self._rows.get(self._market.reference, -1)
        self._values[: len(PRICES), at[reference]] = values[:, reference]

    def _make_room(self, lowest: int, highest: int) -> None:
        """Rows for all symbols, and places from the lowest to the highest that there are."""
        symbols, width = self._seen.shape
        first = min(lowest, self._first) if width else lowest
        end = max(highest + 1, self._first + width) if width else highest + 1
        if len(self._rows) <= symbols and first == self._first and end == self._first + width:
            return
        end += BLOCK_CANDLES if end > self._first + width else 0
        before = self._first - first if width else 0
        seen = np.zeros((max(len(self._rows), symbols), end - first), np.bool_)
        fresh = np.concatenate((np.full(len(PRICES), np.nan), np.zeros(len(COUNTS))))
        values = np.repeat(fresh[:, None], end - first, axis=1)
        seen[:symbols, before : before + width] = self._seen
        values[:, before : before + width] = self._values
        self._first, self._seen, self._values = first, seen, values
