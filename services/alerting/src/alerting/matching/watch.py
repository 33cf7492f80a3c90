"""Everything that is looked for in what streams tell one after another, and what is remembered of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec

from alerting.matching.indicators import IndicatorWatch, Reached, Reading
from alerting.matching.indicators import Spent as SpentReading
from alerting.matching.moves import Move, Window
from alerting.matching.paper import Drawdown, Fallen, PaperCause, PaperWatch, PortfolioEvent
from alerting.matching.prices import Crossing, PriceWatch, Spent
from alerting.matching.rules import Rules
from alerting.matching.volumes import Spike, VolumeWatch
from tocsin_common.documents import AlertRule, IndicatorRule, MoveRule, PaperRule, PriceRule
from tocsin_common.events import CandlesClosed, IndicatorsComputed, TradesReceived

Watched = TradesReceived | CandlesClosed | IndicatorsComputed | PortfolioEvent

Counts = Callable[[PriceRule | MoveRule | IndicatorRule | PaperRule, Crossing | Move | Reached | Drawdown], bool]
"""Whether something found rings. What does not ring does not have to be armed again either."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered, as rows: keys first, then the value."""

    prices: list[tuple[str, str, float, int]]
    spent: list[Spent]
    windows: list[tuple[str, str, int, Window]]
    volumes: list[tuple[str, str, str, int, tuple[float, ...]]]
    readings: list[tuple[str, str, str, Reading]]
    reached: list[SpentReading]
    peaks: list[tuple[str, Decimal]]
    fallen: list[Fallen]


class Watch:
    """Asked of one batch after another; see `kept` for what `settle` and `revert` are for."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._prices = PriceWatch(rules)
        self._volumes = VolumeWatch(rules)
        self._indicators = IndicatorWatch(rules)
        self._paper = PaperWatch(rules)
        self._kept = (
            *(self._prices.last, self._prices.spent, self._prices.windows, self._volumes.recent),
            *(self._indicators.last, self._indicators.spent, self._paper.peaks, self._paper.fallen),
        )

    def find(
        self, event: Watched, counts: Counts
    ) -> Iterator[tuple[AlertRule, Crossing | Move | Spike | Reached | PaperCause]]:
        """What rules look for; of what has to be armed again, only what `counts`."""
        match event:
            case TradesReceived():
                yield from self._prices.in_trades(event, counts)
            case CandlesClosed():
                yield from self._prices.in_candles(event, counts)
                yield from self._volumes.in_candles(event)
            case IndicatorsComputed():
                yield from self._indicators.in_readings(event, counts)
            case _:
                yield from self._paper.in_paper(event, counts)

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
        readings = self._indicators.last.settled
        return Memory(
            prices=[(*instrument, *price) for instrument, price in prices.last.settled.items()],
            spent=[key for key in prices.spent.settled if rules.in_force(*key[:2])],
            windows=[(*key, value) for key, value in windows.items() if key[2] in rules.moves_of(key[:2])],
            volumes=[(*series, *recent) for series, recent in volumes.items() if rules.volumes_of(series)],
            readings=[(*series, reading) for series, reading in readings.items() if rules.for_readings(series)],
            reached=[key for key in self._indicators.spent.settled if rules.in_force(*key[:2])],
            peaks=list(self._paper.peaks.settled.items()),
            fallen=[key for key in self._paper.fallen.settled if rules.in_force(*key[:2])],
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
        for exchange, symbol, timeframe, reading in memory.readings:
            self._indicators.last.settled[exchange, symbol, timeframe] = reading
        self._indicators.spent.settled.update(dict.fromkeys(memory.reached, True))
        self._paper.peaks.settled.update(memory.peaks)
        self._paper.fallen.settled.update(dict.fromkeys(memory.fallen, True))
