"""Where prices cross levels, and how far they move. Pure: columns of trades or candles in, what rules look for out.

Of every instrument the last price is remembered, of rules that have to be armed again that they rang, of moves what
the price was lately. All of it can be taken back to before the batch in hand (see `kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alerting.matching.kept import Kept
from alerting.matching.levels import Direction, Instrument, Levels, Mark, Moves
from alerting.matching.moves import Column, Move, Side, Window, advance
from alerting.matching.rules import Rules
from tocsin_common.documents import MoveRule, PriceRule
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

Hit = tuple[PriceRule, Crossing] | tuple[MoveRule, Move]

Counts = Callable[[PriceRule | MoveRule, Crossing | Move], bool]
"""Whether something found rings. What does not ring does not have to be armed again either."""

Spent = tuple[str, int, str]
"""Rule, its revision, and (of a move) the side on which it rang and is not armed again."""


def always(_rule: object, _cause: object) -> bool:
    """What is found rings."""
    return True


def never(_rule: object, _cause: object) -> bool:
    """It only teaches."""
    return False


@dataclass(frozen=True, slots=True)
class Ticks:
    """Prices (float64) of one instrument at ascending times, and the one `before` them. `reference` names each."""

    instrument: Instrument
    before: float
    prices: Column
    times_ms: NDArray[np.int64]
    reference: Callable[[int], str]


class PriceWatch:
    """Finds crossings and moves in trades and candles of instruments, one after another."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.last: Kept[Instrument, Price] = Kept()
        self.windows: Kept[tuple[str, str, int], Window] = Kept()
        self.spent: Kept[Spent, bool] = Kept()

    def in_trades(self, event: TradesReceived, counts: Counts = always) -> Iterator[Hit]:
        """What happens between consecutive trades. Repaired trades were fetched after a gap: they teach the price, and
        it is too late to ring for them."""

        def reference(row: int) -> str:
            return event.trade_id[row] or derive("trade", event.price[row], event.amount[row], event.side[row])

        counts = never if event.repaired else counts
        return self._hits((event.exchange, event.symbol), event.price, event.ts_ms, reference, counts)

    def in_candles(self, event: CandlesClosed, counts: Counts = always) -> Iterator[Hit]:
        """What happens between consecutive closes of 1m candles that an exchange (or a candle file) gave.

        Candles built from trades are passed over, because their trades are watched; history and corrections too,
        because they tell of the past.
        """
        if event.timeframe != "1m" or event.origin != "exchange" or event.revision:
            return iter(())
        closes_ms = [open_ms + CANDLE_MS for open_ms in event.open_ms]
        return self._hits((event.exchange, event.symbol), event.close, closes_ms, lambda _row: "candle", counts)

    def _hits(
        self,
        instrument: Instrument,
        prices: list[float],
        times_ms: list[int],
        reference: Callable[[int], str],
        counts: Counts,
    ) -> Iterator[Hit]:
        """Everything in a column of prices.

        A row earlier than one already seen (a late or repaired trade) tells of the past: it neither rings nor counts.
        """
        last = self.last.get(instrument)
        levels, moves = self._rules.levels_of(instrument), self._rules.moves_of(instrument)
        if levels is None and not moves:
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
        ticks = Ticks(instrument, before, column, times[rows], lambda position: reference(int(rows[position])))
        self.last.put(instrument, (float(column[-1]), int(ticks.times_ms[-1])))
        if levels is not None:
            yield from self._crossings(ticks, levels, counts)
        for window_s, looked_for in moves.items():
            yield from self._moves(ticks, window_s, looked_for, counts)

    def _crossings(self, ticks: Ticks, levels: Levels[PriceRule], counts: Counts) -> Iterator[Hit]:
        for row, mark, direction in levels.crossed(ticks.before, ticks.prices):
            if not self._armed(mark, ""):
                continue
            previous = float(ticks.prices[row - 1]) if row else ticks.before
            price, ts_ms = float(ticks.prices[row]), int(ticks.times_ms[row])
            crossing = Crossing(*ticks.instrument, mark.level, direction, previous, price, ts_ms, ticks.reference(row))
            if counts(mark.rule, crossing):
                self._spend(mark, "")
                yield mark.rule, crossing

    def _moves(self, ticks: Ticks, window_s: int, looked_for: Moves, counts: Counts) -> Iterator[Hit]:
        key = (*ticks.instrument, window_s)
        window = self.windows.get(key) or Window()
        seen = advance(window, window_s, ticks.prices, ticks.times_ms)
        self.windows.put(key, seen.after)
        sides: tuple[tuple[Side, Levels[MoveRule], float, Column, Column], ...] = (
            ("up", looked_for.up, window.rise, seen.rises, seen.lows),
            ("down", looked_for.down, window.fall, seen.falls, seen.highs),
        )
        for side, levels, before, ratios, extremes in sides:
            for row, mark, _ in levels.crossed(before, ratios):
                if not self._armed(mark, side):
                    continue
                price, ts_ms, extreme = float(ticks.prices[row]), int(ticks.times_ms[row]), float(extremes[row])
                percent, reference = mark.rule.percent, ticks.reference(row)
                move = Move(*ticks.instrument, percent, window_s, side, extreme, price, ts_ms, reference)
                if counts(mark.rule, move):
                    self._spend(mark, side)
                    yield mark.rule, move

    def _armed(self, mark: Mark[Any], side: str) -> bool:
        """Whether a mark that was crossed rings; one that rearms does that."""
        if not (mark.sticky or mark.rearms):
            return True
        key = self._key(mark, side)
        spent = self.spent.get(key)
        if mark.rearms and spent:
            self.spent.put(key, None)
        return not (mark.rearms or spent)

    def _spend(self, mark: Mark[Any], side: str) -> None:
        if mark.sticky:
            self.spent.put(self._key(mark, side), True)

    def _key(self, mark: Mark[Any], side: str) -> Spent:
        return mark.rule.rule_id, self._rules.revision(mark.rule), side
