"""Trades and candles as columns: what travels between sources, the candle builder and the events.

They are Structs because a frozen dataclass takes fifteen times as long to make, and some are made for every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tocsin_common.events import CandlesClosed, Origin, TradesReceived

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNCOUNTED = -1


class Instrument(NamedTuple):
    """One market: a ccxt exchange id and a unified symbol."""

    exchange: str
    symbol: str


class Trades(msgspec.Struct, frozen=True):
    """Trades of one instrument in exchange order, as equally long columns.

    `side` holds one ASCII code per trade: `b` taker bought, `s` taker sold, `-` unknown. `trade_id` is a list, or a
    packed column of ids that are numbers.
    """

    ts_ms: Ints
    price: Floats
    amount: Floats
    side: NDArray[np.uint8]
    trade_id: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ts_ms)

    def rows(self, first: int, end: int) -> Trades:
        """The rows `first <= i < end`."""
        part = slice(first, end)
        return Trades(self.ts_ms[part], self.price[part], self.amount[part], self.side[part], self.trade_id[part])


class Candles(msgspec.Struct, frozen=True):
    """Candles of one instrument and timeframe, oldest first; `trades` is UNCOUNTED where the source does not say."""

    open_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    trades: Ints

    def __len__(self) -> int:
        return len(self.open_ms)

    def rows(self, part: slice | NDArray[np.bool_] | NDArray[np.integer]) -> Candles:
        """The chosen rows."""
        return Candles(
            self.open_ms[part],
            self.open[part],
            self.high[part],
            self.low[part],
            self.close[part],
            self.volume[part],
            self.trades[part],
        )

    def row(self, at: int) -> tuple[int, float, float, float, float, float, int]:
        """One row as plain numbers, in the order of the columns."""
        columns = (self.open, self.high, self.low, self.close, self.volume)
        first, high, low, close, volume = (float(column[at]) for column in columns)
        return int(self.open_ms[at]), first, high, low, close, volume, int(self.trades[at])

    def moved(self, by_ms: int) -> Candles:
        """The same candles at another time."""
        columns = (self.open, self.high, self.low, self.close, self.volume)
        return Candles(self.open_ms + by_ms, *columns, self.trades)


def join(parts: Sequence[Candles]) -> Candles:
    """Put candles of one instrument and timeframe one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Candles(
        np.concatenate([part.open_ms for part in parts]),
        np.concatenate([part.open for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.close for part in parts]),
        np.concatenate([part.volume for part in parts]),
        np.concatenate([part.trades for part in parts]),
    )


def uncounted(rows: int) -> Ints:
    """The column `trades` of candles whose source does not count them."""
    return np.full(rows, UNCOUNTED, np.int64)


def flat(open_ms: Ints, price: Floats | float) -> Candles:
    """Candles of intervals nobody traded in: the price before them, no volume."""
    level = np.full(len(open_ms), price, dtype=np.float64) if isinstance(price, float) else price
    return Candles(open_ms, level, level, level, level, np.zeros(len(open_ms)), np.zeros(len(open_ms), np.int64))


def candles_of(event: CandlesClosed) -> Candles:
    """The columns of an event."""
    return Candles(
        np.array(event.open_ms, np.int64),
        np.array(event.open, np.float64),
        np.array(event.high, np.float64),
        np.array(event.low, np.float64),
        np.array(event.close, np.float64),
        np.array(event.volume, np.float64),
        uncounted(len(event.open_ms)) if event.trades is None else np.array(event.trades, np.int64),
    )


def trades_of(event: TradesReceived) -> Trades:
    """The columns of an event."""
    return Trades(
        np.array(event.ts_ms, np.int64),
        np.array(event.price, np.float64),
        np.array(event.amount, np.float64),
        np.frombuffer(event.side.encode("ascii"), np.uint8),
        event.trade_id,
    )


NO_CANDLES = flat(np.empty(0, np.int64), np.empty(0))


class TradeRows(msgspec.Struct, frozen=True):
    """Trades of one instrument that a source gives together."""

    instrument: Instrument
    trades: Trades


class CandleRows(msgspec.Struct, frozen=True):
    """Closed candles of one instrument and timeframe."""

    instrument: Instrument
    timeframe: str
    origin: Origin
    candles: Candles
