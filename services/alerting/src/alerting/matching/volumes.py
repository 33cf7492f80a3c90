"""Candles of unusual volume. Pure: columns of closed candles in, spikes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum

from alerting.matching.kept import Kept
from alerting.matching.levels import Series
from alerting.matching.rules import Rules
from tocsin_common.documents import VolumeRule
from tocsin_common.events import CandlesClosed
from tocsin_common.ids import derive
from tocsin_trading.timeframes import TIMEFRAME_MS


@dataclass(frozen=True, slots=True)
class Spike:
    """A candle that closed at `ts_ms` had `volume`, the `candles` before it `mean` each (base currency)."""

    exchange: str
    symbol: str
    timeframe: str
    candles: int
    mean: float
    volume: float
    close: float
    ts_ms: int

    @property
    def cause_id(self) -> str:
        return derive("spike", self.exchange, self.symbol, self.timeframe, self.candles, self.ts_ms)


Recent = tuple[int, tuple[float, ...]]
"""When the newest candle opened (ms), and the volumes up to it, oldest first: one more than any rule compares with."""


class VolumeWatch:
    """Finds the spikes in candles of series, one after another. Remembers volumes of series that rules look at."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.recent: Kept[Series, Recent] = Kept()

    def in_candles(self, event: CandlesClosed) -> Iterator[tuple[VolumeRule, Spike]]:
        """Spikes among candles as they closed; those of the past teach what is usual and ring nothing.

        Corrections are passed over, and candles that are not newer than what was seen.
        """
        series = (event.exchange, event.symbol, event.timeframe)
        rules = self._rules.volumes_of(series)
        if not rules or event.revision:
            return
        newest, volumes = self.recent.get(series) or (-1, ())
        longest = max(rule.candles for rule in rules)
        for open_ms, close, volume in zip(event.open_ms, event.close, event.volume, strict=True):
            if open_ms <= newest:
                continue
            if event.origin != "history":
                closed_ms = open_ms + TIMEFRAME_MS[event.timeframe]
                for rule in rules:
                    mean = mean_of(volumes, rule.candles)
                    if mean and volume >= rule.factor * mean:
                        yield rule, Spike(*series, rule.candles, mean, volume, close, closed_ms)
            newest, volumes = open_ms, (*volumes, volume)[-longest - 1 :]
        self.recent.put(series, (newest, volumes))


def mean_of(volumes: tuple[float, ...], candles: int) -> float:
    """The mean of the last so many volumes; 0 while there are fewer, or nothing was traded."""
    return fsum(volumes[-candles:]) / candles if len(volumes) >= candles else 0.0
