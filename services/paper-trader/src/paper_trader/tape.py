"""The tape of one instrument: the prices it is measured by, taken in as they arrive and cut off at the clock.

Basis: an instrument is read by its trades from the first one on; before that, or without any, by the exchange's own
candles of the shortest timeframe seen so far. Candles built from trades, and history, are never prices.

Late rows: a price older than the clock was when it arrived is no price any more; it is counted and dropped. Trades
out of order that are not late count from the moment of the trade before them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_trading.prices import (
    Floats,
    Ints,
    Number,
    PricePath,
    concatenate,
    from_candles,
    from_trades,
    ms_of,
    tick_of_clock,
)
from tocsin_trading.timeframes import TIMEFRAME_MS

NEVER_MS = 2**62
"""Later than any clock, longer than any timeframe."""

_NO_TIMES: Ints = np.empty(0, dtype=np.int64)
_NO_PRICES: Floats = np.empty(0, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the tape between two clocks: candle rows first, trade rows from `trades_from`.

    `traded_ms` and `trade_ids` are the trades' own times and ids. `lowest` and `highest` bound all rows.
    """

    path: PricePath
    trades_from: int
    traded_ms: Ints
    trade_ids: list[str | None]
    lowest: float
    highest: float

    def basis(self, row: int) -> Literal["trade", "candle"]:
        return "trade" if row >= self.trades_from else "candle"

    def reference(self, row: int) -> str:
        """What gave a row its price: the trade's id (its time where it has none) or the candle's open time."""
        if row < self.trades_from:
            return str(self.path.since_ms[row])
        trade = row - self.trades_from
        return self.trade_ids[trade] or str(self.traded_ms[trade])


@dataclass(slots=True)
class Trades:
    """Columns of trades that wait for the clock: when they count, their own time, their price and id."""

    at_ms: list[Ints] = field(default_factory=list)
    traded_ms: list[Ints] = field(default_factory=list)
    price: list[Floats] = field(default_factory=list)
    trade_id: list[str | None] = field(default_factory=list)

    def cut(self, until_ms: int) -> tuple[Ints, Ints, Floats, list[str | None]]:
        """Take out what counts before `until_ms`."""
        at = _join(self.at_ms, _NO_TIMES)
        traded = _join(self.traded_ms, _NO_TIMES)
        price = _join(self.price, _NO_PRICES)
        count = int(at.searchsorted(until_ms, "left"))
        ready_ids, self.trade_id = self.trade_id[:count], self.trade_id[count:]
        left = len(at) > count
        self.at_ms = [at[count:]] if left else []
        self.traded_ms = [traded[count:]] if left else []
        self.price = [price[count:]] if left else []
        return at[:count], traded[:count], price[:count], ready_ids


@dataclass(slots=True)
class Tape:
    """The state of one instrument's prices. `segment` is what the current slice cut off, the rest outlives it."""

    last_since_ms: int = -1
    last_ms: int = -1
    last_price: float = 0.0
    newest_trade_ms: int = -1
    has_trades: bool = False
    candle_ms: int = NEVER_MS
    trades: Trades = field(default_factory=Trades)
    candles: list[tuple[Ints, Floats]] = field(default_factory=list)
    segment: Segment | None = None

    @property
    def basis(self) -> Literal["trades", "candles"]:
        return "trades" if self.has_trades or self.candle_ms == NEVER_MS else "candles"

    def take_trades(self, event: TradesReceived, floor_ms: int) -> int:
        """Keep trades for the next cut; returns how many were late, older than the clock `floor_ms`."""
        traded = np.array(event.ts_ms, dtype=np.int64)
        price = np.array(event.price, dtype=np.float64)
        ids, late = event.trade_id, 0
        if int(traded.min()) < floor_ms:
            fresh = traded >= floor_ms
            late = len(traded) - int(fresh.sum())
            traded, price = traded[fresh], price[fresh]
            ids = [ids[row] for row in fresh.nonzero()[0]]
        if len(traded):
            at = np.maximum(np.maximum.accumulate(traded), self.newest_trade_ms)
            self.newest_trade_ms = int(at[-1])
            self.trades.at_ms.append(at)
            self.trades.traded_ms.append(traded)
            self.trades.price.append(price)
            self.trades.trade_id += ids
        return late

    def take_candles(self, event: CandlesClosed, floor_ms: int) -> int:
        """Keep candles for the next cut; returns how many were late, closed before the clock `floor_ms`."""
        length_ms = TIMEFRAME_MS[event.timeframe]
        open_ms = np.array(event.open_ms, dtype=np.int64)
        prices = np.array([event.open, event.high, event.low, event.close], dtype=np.float64)
        fresh = open_ms + length_ms >= floor_ms
        times = np.array([open_ms, np.full_like(open_ms, length_ms)])
        self.candles.append((times[:, fresh], prices[:, fresh]))
        return len(open_ms) - int(fresh.sum())

    def cut(self, until_ms: int) -> None:
        """Make `segment` of everything known before `until_ms`; None when that is nothing."""
        if not self.trades.at_ms and not self.candles:
            self.segment = None
            return
        at, traded, price, ids = self.trades.cut(until_ms)
        by_trades_ms = -1 if self.has_trades else int(at[0]) if len(at) else NEVER_MS
        self.has_trades = self.has_trades or len(at) > 0
        path = from_trades(at, price)
        candle_path = self._cut_candles(until_ms, by_trades_ms)
        if candle_path is not None:
            path = concatenate(candle_path, path)
        if not len(path):
            self.segment = None
            return
        trades_from = len(path) - len(at)
        self.segment = Segment(path, trades_from, traded, ids, float(path.low.min()), float(path.high.max()))

    def _cut_candles(self, until_ms: int, by_trades_ms: int) -> PricePath | None:
        """The candles known before `until_ms` that are prices: the shortest timeframe, and before the first trade."""
        if not self.candles:
            return None
        times = np.concatenate([times for times, _ in self.candles], axis=1)
        prices = np.concatenate([prices for _, prices in self.candles], axis=1)
        closed_ms = times[0] + times[1]
        waiting = closed_ms >= until_ms
        self.candles = [(times[:, waiting], prices[:, waiting])] if waiting.any() else []
        ready = np.lexsort((times[1], closed_ms))
        ready = ready[(closed_ms[ready] < until_ms) & (closed_ms[ready] <= by_trades_ms)]
        shortest = np.minimum(np.minimum.accumulate(times[1][ready]), self.candle_ms)
        ready = ready[times[1][ready] == shortest]
        ready = ready[np.diff(closed_ms[ready], prepend=self.last_ms) > 0]
        if not len(ready):
            return None
        open_ms, length_ms = times[:, ready]
        self.candle_ms = int(length_ms[-1])
        open_, high, low, close = prices[:, ready]
        return from_candles(open_ms, length_ms, open_, high, low, close)

    def price_through(self, tick: int) -> float:
        """The last price known at or before a tick of the current slice."""
        if self.segment is not None:
            rows = self.segment.path.rows_through(tick)
            if rows:
                return float(self.segment.path.last[rows - 1])
        return self.last_price

    def price_between(self, since_ms: int, before_ms: int) -> float | None:
        """The last price begun at or after `since_ms` and known before the clock strikes `before_ms`, or None."""
        if self.segment is not None:
            path = self.segment.path
            rows = path.rows_before(tick_of_clock(before_ms))
            if rows:
                return float(path.last[rows - 1]) if path.since_ms[rows - 1] >= since_ms else None
        return self.last_price if self.last_since_ms >= since_ms else None

    def leave(self) -> None:
        """The slice is over: remember its last price, forget the rest."""
        if self.segment is not None:
            path = self.segment.path
            self.last_ms = ms_of(int(path.tick[-1]))
            self.last_since_ms = int(path.since_ms[-1])
            self.last_price = float(path.last[-1])
        self.segment = None


def _join(columns: list[npt.NDArray[Number]], empty: npt.NDArray[Number]) -> npt.NDArray[Number]:
    return np.concatenate(columns) if columns else empty
