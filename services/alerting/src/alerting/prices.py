"""Where prices cross levels. Pure: columns of trades or candles in, crossings out.

The last price of every instrument is the only state. It can be taken back to the state before the batch in hand,
because a batch that could not be published is handled again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from alerting.rules import Direction, Instrument, Rules
from tocsin_common.documents import PriceRule
from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_common.ids import derive

CANDLE_MS = 60_000
"""Prices of instruments without trades come from candles of this length."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A price crossed a level: at `ts_ms` it was `price`, just before `previous`.

    `reference` names the trade or candle by what it is, not by where it was in a message.
    """

    exchange: str
    symbol: str
    level: float
    direction: Direction
    previous: float
    price: float
    ts_ms: int
    reference: str

    @property
    def cause_id(self) -> str:
        return derive("crossing", self.exchange, self.symbol, self.ts_ms, self.reference, self.level, self.direction)


Price = tuple[float, int]
"""A price and its market time in milliseconds."""

Hit = tuple[PriceRule, Crossing]


class LastPrices:
    """The last price per instrument: settled up to the batch in hand, and as that batch leaves it."""

    def __init__(self) -> None:
        self.settled: dict[Instrument, Price] = {}
        self._changed: dict[Instrument, Price] = {}

    def get(self, instrument: Instrument) -> Price | None:
        return self._changed.get(instrument) or self.settled.get(instrument)

    def put(self, instrument: Instrument, price: Price) -> None:
        self._changed[instrument] = price

    def settle(self) -> None:
        """The batch in hand is published: its prices stay."""
        self.settled.update(self._changed)
        self._changed.clear()

    def revert(self) -> None:
        """The batch in hand comes again: forget what it changed."""
        self._changed.clear()


class PriceWatch:
    """Finds the crossings in trades and candles of instruments, one after another."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.last = LastPrices()

    def in_trades(self, event: TradesReceived) -> Iterator[Hit]:
        """Crossings between consecutive trades. Repaired trades were fetched after a gap: they teach the price, and it
        is too late to ring for them."""

        def reference(row: int) -> str:
            return event.trade_id[row] or derive("trade", event.price[row], event.amount[row], event.side[row])

        hits = self._hits((event.exchange, event.symbol), event.price, event.ts_ms, reference)
        if event.repaired:
            deque(hits, maxlen=0)
            return iter(())
        return hits

    def in_candles(self, event: CandlesClosed) -> Iterator[Hit]:
        """Crossings between consecutive closes of 1m candles that an exchange (or a candle file) gave.

        Candles built from trades are passed over, because their trades are watched; history and corrections too,
        because they tell of the past.
        """
        if event.origin != "exchange" or event.revision:
            return iter(())
        closes_ms = [open_ms + CANDLE_MS for open_ms in event.open_ms]
        return self._hits((event.exchange, event.symbol), event.close, closes_ms, lambda _row: "candle")

    def _hits(
        self, instrument: Instrument, prices: list[float], times_ms: list[int], reference: Callable[[int], str]
    ) -> Iterator[Hit]:
        """Every crossing in a column of prices.

        A row earlier than one already seen (a late or repaired trade) tells of the past: it neither rings nor counts.
        """
        last = self.last.get(instrument)
        levels = self._rules.levels_of(instrument)
        if levels is None:
            if last is None or times_ms[-1] >= last[1]:
                self.last.put(instrument, (prices[-1], times_ms[-1]))
            return
        times = np.array(times_ms)
        newest = np.maximum.accumulate(times if last is None else np.maximum(times, last[1]))
        rows = np.flatnonzero(times >= newest)
        if not len(rows):
            return
        column = np.array(prices)[rows]
        before = float(column[0]) if last is None else last[0]
        self.last.put(instrument, (float(column[-1]), int(times[rows[-1]])))
        for position, rule, direction in levels.crossed(before, column):
            row = int(rows[position])
            previous = float(column[position - 1]) if position else before
            crossing = Crossing(
                *instrument, rule.level, direction, previous, prices[row], times_ms[row], reference(row)
            )
            yield rule, crossing
