"""The truth of a test: every trade that happened on the exchange, and the candles that follow from them.

The ledger knows nothing of wire formats, connections or faults. What a fault destroyed on its way is in here; what
was malformed when it was sent never happened and is not.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

TIMEFRAMES_MS = {
    **{f"{n}s": n * 1_000 for n in (1,)},
    **{f"{n}m": n * 60_000 for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 3_600_000 for n in (1, 2, 4, 6, 8, 12)},
    **{f"{n}d": n * 86_400_000 for n in (1, 3)},
}


class Trade(NamedTuple):
    """One trade. `number` orders the trades of a symbol and is what `id` says where ids are numbers; `aggregate` is
    shared by neighbours of one taker order at one price. `side` is the taker's, "buy" or "sell"."""

    symbol: str
    number: int
    id: str
    ts_ms: int
    price: Decimal
    amount: Decimal
    side: str
    aggregate: int


class Candle(NamedTuple):
    """One candle as the exchange would print it. Volumes are exact; `taker_*` count only what takers bought. A silent
    interval is flat: no trades, no volume, all prices the last close, `first` and `last` -1."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_volume: Decimal
    taker_quote_volume: Decimal
    first: int
    last: int


Ids = Callable[[str, int], tuple[int, str]]
"""How a venue numbers: symbol and the last number, to the next number and its id."""


def one_by_one(_symbol: str, last: int) -> tuple[int, str]:
    """Every id is the one before plus one."""
    return last + 1, str(last + 1)


def checksum(trade_id: str | None, ts_ms: int, price: float, amount: float, side: str | None) -> int:
    """A trade's share of a symbol's checksum. The shares are added modulo 2**64, so neither order nor batches count,
    but a trade that is missing, doubled or changed does."""
    return zlib.crc32(f"{trade_id},{ts_ms},{price!r},{amount!r},{side}".encode())


@dataclass
class Tally:
    """What all trades of a symbol sum up to, also those no longer kept. Prices are of the exchange's whole life, which
    stands for its last 24 hours."""

    count: int = 0
    first_id: str | None = None
    last_id: str | None = None
    checksum: int = 0
    open: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    low: Decimal = Decimal(0)
    last: Decimal = Decimal(0)
    last_amount: Decimal = Decimal(0)
    volume: Decimal = Decimal(0)
    quote_volume: Decimal = Decimal(0)
    first_number: int = -1
    last_number: int = -1
    first_ms: int = 0
    last_ms: int = 0

    def add(self, trade: Trade) -> None:
        price, amount = trade.price, trade.amount
        if not self.count:
            self.first_id, self.first_number, self.first_ms = trade.id, trade.number, trade.ts_ms
            self.open = self.high = self.low = price
        self.count += 1
        self.last_id, self.last_number, self.last_ms = trade.id, trade.number, trade.ts_ms
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.last, self.last_amount = price, amount
        self.volume += amount
        self.quote_volume += price * amount
        share = checksum(trade.id, trade.ts_ms, float(price), float(amount), trade.side)
        self.checksum = (self.checksum + share) % 2**64


@dataclass
class Ledger:
    """All trades by symbol, in the order in which they happened.

    `keep`: how many trades of a symbol are kept at least, the oldest go first; None keeps all.
    """

    ids: Ids = one_by_one
    keep: int | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)
    _trades: dict[str, list[Trade]] = field(default_factory=dict)
    _forgotten: set[str] = field(default_factory=set)

    def record(
        self, symbol: str, ts_ms: int, price: Decimal, amount: Decimal, side: str, *, same_order: bool = False
    ) -> Trade:
        """Write a trade down. `same_order`: it fills the same taker order as the one before, so that both are one
        aggregate if price, time and side agree.

        Raises:
            ValueError: it is older than the trade before.
        """
        trades = self._trades.setdefault(symbol, [])
        last = trades[-1] if trades else None
        if last is not None and ts_ms < last.ts_ms:
            raise ValueError(f"{symbol}: a trade at {ts_ms} after one at {last.ts_ms}")
        number, trade_id = self.ids(symbol, last.number if last is not None else 0)
        joins = same_order and last is not None and (last.ts_ms, last.price, last.side) == (ts_ms, price, side)
        aggregate = 1 if last is None else last.aggregate + (not joins)
        trade = Trade(symbol, number, trade_id, ts_ms, price, amount, side, aggregate)
        trades.append(trade)
        self.tallies.setdefault(symbol, Tally()).add(trade)
        if self.keep is not None and len(trades) > 2 * self.keep:
            del trades[: -self.keep]
            self._forgotten.add(symbol)
        return trade

    @property
    def symbols(self) -> list[str]:
        """Symbols that traded."""
        return list(self._trades)

    def trades(self, symbol: str) -> Sequence[Trade]:
        """The trades of a symbol that are kept. Not to be changed."""
        return self._trades.get(symbol, [])

    def ids_of(self, symbol: str) -> list[str]:
        """The ids of `trades`."""
        return [trade.id for trade in self.trades(symbol)]

    def tally(self, symbol: str) -> Tally:
        """The sums of a symbol; of one that never traded, zeros."""
        return self.tallies.get(symbol, Tally())

    def aggregates(self, symbol: str) -> list[list[Trade]]:
        """The trades of a symbol, those of one aggregate together."""
        return aggregated(self.trades(symbol))

    def candles(self, symbol: str, timeframe: str, until_ms: int | None = None) -> list[Candle]:
        """The candles of a symbol from its first trade to its last, silent intervals flat; with `until_ms` up to
        the candle that contains it, and none later. Trades no longer kept give no candle, nor does an interval only
        partly kept."""
        width_ms = TIMEFRAMES_MS[timeframe]
        candles: list[Candle] = []
        for group in _intervals(self.trades(symbol), width_ms):
            open_ms = group[0].ts_ms // width_ms * width_ms
            if until_ms is not None and open_ms > until_ms:
                break
            candles += _silence(candles, open_ms, width_ms)
            candles.append(_candle(open_ms, group))
        if until_ms is not None:
            candles += _silence(candles, until_ms // width_ms * width_ms + width_ms, width_ms)
        return candles[1:] if symbol in self._forgotten else candles

    def open_candle(self, symbol: str, timeframe: str) -> Candle:
        """The candle of the last trade's interval, so far."""
        trades, width_ms = self.trades(symbol), TIMEFRAMES_MS[timeframe]
        open_ms = trades[-1].ts_ms // width_ms * width_ms
        return _candle(open_ms, between(trades, open_ms, None))


def aggregated(trades: Sequence[Trade]) -> list[list[Trade]]:
    """Trades of one aggregate together."""
    groups: list[list[Trade]] = []
    for trade in trades:
        if groups and groups[-1][0].aggregate == trade.aggregate:
            groups[-1].append(trade)
        else:
            groups.append([trade])
    return groups


def from_number(trades: Sequence[Trade], number: int) -> Sequence[Trade]:
    """The trades with this number and later ones."""
    return trades[bisect_left(trades, number, key=lambda trade: trade.number) :]


def before_number(trades: Sequence[Trade], number: int) -> Sequence[Trade]:
    """The trades before this number."""
    return trades[: bisect_left(trades, number, key=lambda trade: trade.number)]


def between(trades: Sequence[Trade], from_ms: int | None, until_ms: int | None) -> Sequence[Trade]:
    """The trades from `from_ms` to `until_ms`, both included."""
    start = 0 if from_ms is None else bisect_left(trades, from_ms, key=lambda trade: trade.ts_ms)
    end = len(trades) if until_ms is None else bisect_left(trades, until_ms + 1, key=lambda trade: trade.ts_ms)
    return trades[start:end]


def _intervals(trades: Sequence[Trade], width_ms: int) -> Iterator[Sequence[Trade]]:
    start = 0
    while start < len(trades):
        end_ms = trades[start].ts_ms // width_ms * width_ms + width_ms
        end = bisect_left(trades, end_ms, lo=start, key=lambda trade: trade.ts_ms)
        yield trades[start:end]
        start = end


def _candle(open_ms: int, trades: Sequence[Trade]) -> Candle:
    prices = [trade.price for trade in trades]
    bought = [trade for trade in trades if trade.side == "buy"]
    return Candle(
        open_ms=open_ms,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=_volume(trades),
        quote_volume=_quote_volume(trades),
        trades=len(trades),
        taker_volume=_volume(bought),
        taker_quote_volume=_quote_volume(bought),
        first=trades[0].number,
        last=trades[-1].number,
    )


def _volume(trades: Sequence[Trade]) -> Decimal:
    return sum((trade.amount for trade in trades), Decimal(0))


def _quote_volume(trades: Sequence[Trade]) -> Decimal:
    return sum((trade.price * trade.amount for trade in trades), Decimal(0))


def _silence(candles: Sequence[Candle], until_ms: int, width_ms: int) -> list[Candle]:
    """The flat candles between the last one and `until_ms`."""
    if not candles:
        return []
    close, zero = candles[-1].close, Decimal(0)
    return [
        Candle(open_ms, close, close, close, close, zero, zero, 0, zero, zero, -1, -1)
        for open_ms in range(candles[-1].open_ms + width_ms, until_ms, width_ms)
    ]
