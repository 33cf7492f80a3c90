"""What a picture shows, and where: slots of time, rows of prices, levels and their labels. Pure, in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

SLOTS_MAX = 100
"""Candles shown at most: with more, a body is thinner than a phone shows."""

TARGETS_MAX = 8
"""The nearest are shown: with entry and stop, as many labels as fit beside each other."""

STRETCH_MAX = 4.0
"""Levels may make the candles this much flatter than they would be alone; what lies beyond is named at the edge."""

Floats = NDArray[np.float64]
Role = Literal["entry", "stop", "target"]


@dataclass(frozen=True, slots=True)
class Candles:
    """Closed candles of one timeframe, oldest first: equally long columns of finite numbers."""

    open_ms: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def rows(self, part: NDArray[np.bool_]) -> Candles:
        columns = (self.open_ms, self.open, self.high, self.low, self.close, self.volume)
        return Candles(*(column[part] for column in columns))  # type: ignore[arg-type]  # each keeps its type


class Market(msgspec.Struct, frozen=True, kw_only=True, tag="market"):
    """A market without a signal: its candles up to the one that opened at `candle_open_ms`, and its last price."""

    exchange: str
    symbol: str
    timeframe: str
    candle_open_ms: int
    last: float

    @property
    def closed_ms(self) -> int:
        return self.candle_open_ms + TIMEFRAME_MS[self.timeframe]


@dataclass(frozen=True, slots=True)
class Chart:
    """A signal (or a market alone), the candles up to its own, and indicator lines by name (as long as the candles, NaN
    where unknown)."""

    signal: SignalRaised | Market
    candles: Candles
    lines: Mapping[str, Floats] = field(default_factory=dict)

    def latest(self) -> Chart:
        """No more than the last SLOTS_MAX slots of time, nor a candle after the signal's own."""
        length_ms, open_ms = TIMEFRAME_MS[self.signal.timeframe], self.candles.open_ms
        end_ms = self.signal.candle_open_ms
        part = (open_ms > end_ms - SLOTS_MAX * length_ms) & (open_ms <= end_ms)
        return Chart(self.signal, self.candles.rows(part), {name: line[part] for name, line in self.lines.items()})

    def slots(self) -> NDArray[np.int64]:
        """The place of each candle among the slots of time, counted from the first candle."""
        open_ms = self.candles.open_ms
        return (open_ms - open_ms[:1]) // TIMEFRAME_MS[self.signal.timeframe]


@dataclass(frozen=True, slots=True)
class Level:
    """A price with a name: where it is, and where its label stands. `beyond`: it lies above (1) or below (-1)."""

    role: Role
    name: str
    price: float
    row: int
    label_row: int
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class PriceScale:
    """Rows of prices: `low` stands at row `bottom`, `high` at row `top`, which is the smaller one."""

    low: float
    high: float
    top: int
    bottom: int

    def share(self, price: Floats | float) -> Floats:
        """How far up from low to high; within the scale without leaving the range of floats."""
        unit = max(abs(self.low), abs(self.high)) or 1.0
        span = self.high / unit - self.low / unit
        with np.errstate(over="ignore"):  # far beyond the scale is infinitely far
            return np.asarray((np.asarray(price) / unit - self.low / unit) / (span or 1.0))

    def rows(self, price: Floats) -> NDArray[np.int64]:
        """The rows of prices; those beyond the scale stand one row outside."""
        share = np.clip(self.share(price), -1.0, 2.0)
        rows = np.rint(self.bottom - share * (self.bottom - self.top)).astype(np.int64)
        return np.asarray(np.clip(rows, self.top - 1, self.bottom + 1))

    def row(self, price: float) -> int:
        return int(self.rows(np.array([price]))[0])

    def ticks(self, count: int) -> list[float]:
        """Round prices within the scale, about `count`: multiples of 1, 2 or 5 times a power of ten."""
        rough = self.high / count - self.low / count
        if rough < 1e-300 or rough > 1e300:
            return []
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
        first = math.ceil(self.low / step)
        if abs(first) > 1e12:  # the whole scale is less than what floats tell apart
            return []
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


def price_scale(chart: Chart, *, top: int, bottom: int) -> PriceScale:
    """A scale of the candles and of every level that does not make them too flat, nearest first, with some room."""
    candles = chart.candles
    first, *others = [price for *_, price in named_prices(chart.signal)]
    low = min(float(candles.low.min()), first) if len(candles.low) else first
    high = max(float(candles.high.max()), first) if len(candles.high) else first
    most = STRETCH_MAX * max(high / 2 - low / 2, abs(first / 2 - others[0] / 2) if others else 0.0)
    for price in sorted(others, key=lambda each: abs(each / 2 - first / 2)):
        wider = min(low, price), max(high, price)
        if wider[1] / 2 - wider[0] / 2 <= most:
            low, high = wider
    room = 0.06 * (high / 2 - low / 2) * 2 or abs(high) * 0.01 or 1.0
    return PriceScale(_finite(low - room), _finite(high + room), top, bottom)


def nearest_targets(signal: SignalRaised) -> list[float]:
    return signal.targets[:TARGETS_MAX]


def named_prices(signal: SignalRaised | Market) -> list[tuple[Role, str, float]]:
    """Entry, stop and the nearest targets; of a market alone, its last price."""
    if isinstance(signal, Market):
        return [("entry", "Last", signal.last)]
    named: list[tuple[Role, str, float]] = [("entry", "Entry", signal.entry), ("stop", "Stop", signal.stop)]
    targets = nearest_targets(signal)
    many = len(targets) > 1
    return named + [("target", f"TP {n}" if many else "Target", price) for n, price in enumerate(targets, 1)]


def levels(signal: SignalRaised | Market, scale: PriceScale, *, height: int) -> list[Level]:
    """The named prices, highest first, their labels `height` or more apart and within the scale."""
    named = named_prices(signal)
    named.sort(key=lambda each: -each[2])
    rows = [scale.row(price) for *_, price in named]
    label_rows = spread(rows, height=height, top=scale.top + height // 2, bottom=scale.bottom - height // 2)
    return [
        Level(role, name, price, row, label_row, (price > scale.high) - (price < scale.low))
        for (role, name, price), row, label_row in zip(named, rows, label_rows, strict=True)
    ]


def spread(rows: Sequence[int], *, height: int, top: int, bottom: int) -> list[int]:
    """Rows moved apart to at least `height`, each as near to where it was as its neighbours let it.

    `rows` ascend. Neighbours that overlap form a block around the mean of their rows; blocks that then overlap join.
    Where all fit between `top` and `bottom`, all stand there.
    """
    blocks: list[tuple[float, int]] = []  # the first label's row and how many follow each other
    for row in rows:
        start, count = float(row), 1
        start = min(max(start, top), bottom)
        while blocks and blocks[-1][0] + blocks[-1][1] * height > start:
            before, many = blocks.pop()
            middle = (many * (before + (many - 1) * height / 2) + count * (start + (count - 1) * height / 2)) / (
                many + count
            )
            count += many
            start = middle - (count - 1) * height / 2
            start = max(min(start, bottom - (count - 1) * height), top)
        blocks.append((start, count))
    return [math.ceil(start) + number * height for start, count in blocks for number in range(count)]


def _finite(value: float) -> float:
    return math.copysign(1e308, value) if math.isinf(value) else value
