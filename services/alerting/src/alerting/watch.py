"""Everything that is looked for in trades and candles, and what is remembered of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from alerting.moves import Move, Window
from alerting.prices import Counts, Crossing, PriceWatch, Spent
from alerting.rules import Rules
from alerting.volumes import Spike, VolumeWatch
from tocsin_common.documents import AlertRule
from tocsin_common.events import CandlesClosed, TradesReceived


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered, as rows: keys first, then the value."""

    prices: list[tuple[str, str, float, int]]
    spent: list[Spent]
    windows: list[tuple[str, str, int, Window]]
    volumes: list[tuple[str, str, str, int, tuple[float, ...]]]


class Watch:
    """Asked of one batch after another; see `kept` for what `settle` and `revert` are for."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._prices = PriceWatch(rules)
        self._volumes = VolumeWatch(rules)
        self._kept = (self._prices.last, self._prices.spent, self._prices.windows, self._volumes.recent)

    def find(
        self, event: TradesReceived | CandlesClosed, counts: Counts
    ) -> Iterator[tuple[AlertRule, Crossing | Move | Spike]]:
        """What rules look for; of prices, only what `counts`."""
        if isinstance(event, TradesReceived):
            yield from self._prices.in_trades(event, counts)
        else:
            yield from self._prices.in_candles(event, counts)
            yield from self._volumes.in_candles(event)

    def settle(self) -> None:
        for kept in self._kept:
            kept.settle()

    def revert(self) -> None:
        for kept in self._kept:
            kept.revert()

    def memory(self) -> Memory:
        """What is settled, as far as rules in force still ask for it."""
        prices, rules = self._prices, self._rules
        windows, volumes = prices.windows.settled, self._volumes.recent.settled
        return Memory(
            prices=[(*instrument, *price) for instrument, price in prices.last.settled.items()],
            spent=[key for key in prices.spent.settled if rules.in_force(*key[:2])],
            windows=[(*key, value) for key, value in windows.items() if key[2] in rules.moves_of(key[:2])],
            volumes=[(*series, *recent) for series, recent in volumes.items() if rules.volumes_of(series)],
        )

    def restore(self, memory: Memory) -> None:
        """Go on from what was remembered."""
        prices, volumes = self._prices, self._volumes.recent.settled
        for exchange, symbol, price, ts_ms in memory.prices:
            prices.last.settled[exchange, symbol] = price, ts_ms
        for exchange, symbol, window_s, window in memory.windows:
            prices.windows.settled[exchange, symbol, window_s] = window
        for exchange, symbol, timeframe, newest_ms, recent in memory.volumes:
            volumes[exchange, symbol, timeframe] = newest_ms, recent
        prices.spent.settled.update(dict.fromkeys(memory.spent, True))
