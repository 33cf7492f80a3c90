"""Structure, order blocks and fair value gaps of both sides in one column.

`structure_trend`, `order_block_bull_low` and their like each look at the whole frame anew. Who needs several of them
asks for this column and takes its fields: what they share is computed once, and live windows take one candle after the
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Bools, Floats
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.structure import breaks_upwards, directions, structure_memory, trend_after
from signal_engine.indicators.zones import Zones, block_memory, bull_block, bull_gap, gap_memory

LANDSCAPE_FIELDS = (
    "trend",
    *("bull_block_low", "bull_block_high", "bull_block_bar", "bull_gap_low", "bull_gap_high"),
    *("bear_block_low", "bear_block_high", "bear_block_bar", "bear_gap_low", "bear_gap_high"),
)
"""`trend` is `structure_trend`, `bull_block_low` is `order_block_bull_low`, `bull_gap_low` is `fvg_bull_low` and so
on: equal in value, null where there is none."""


def landscape_memory(k: int) -> int:
    """Candles until everything before them is forgotten: the longest of its fields."""
    return max(structure_memory(k), block_memory(k), gap_memory())


@indicator(memory=landscape_memory)
def landscape(k: int = 3) -> Landscape:
    """A struct of LANDSCAPE_FIELDS (f64), of swings of `k`."""
    return Landscape(k)


class Landscape:
    """`landscape`. See `Stepwise`."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.candles = 2 * k + 1

    @property
    def expr(self) -> pl.Expr:
        schema = pl.Struct(dict.fromkeys(LANDSCAPE_FIELDS, pl.Float64))
        return pl.map_batches(
            list(Bars._fields), lambda columns: self.column(_fields(Bars.of(columns), self._k)), return_dtype=schema
        )

    def begun(self, windows: int) -> Floats:
        return np.full((2 * len(_Seen._fields), windows), np.nan)

    def step(self, state: Floats, candles: Floats) -> Floats:
        seen = _Seen(*state.reshape(len(_Seen._fields), 2, -1))
        for age in (seen.swing_age, seen.against_age, seen.marked_age, seen.block_age, seen.gap_age, seen.trend_age):
            age += 1
        both = np.stack((candles[:4], -candles[[0, 2, 1, 3]]), axis=1)  # high and low change places in the mirror
        broken = _break(seen, both[1], both[3, ..., -1], self._k)
        _turn(seen, broken)
        _mark(seen, broken, *both[..., -1])
        _open_gap(seen, both[1, ..., -3], both[2, ..., -1])
        shown = (seen.block_low, seen.block_high, seen.marked_age, seen.gap_low, seen.gap_high)
        low, high, bar, gap_low, gap_high = (values[1] for values in shown)
        return np.array([seen.trend[0], *(values[0] for values in shown), -high, -low, bar, -gap_high, -gap_low])

    def column(self, values: Iterable[Floats]) -> pl.Series:
        fields = zip(LANDSCAPE_FIELDS, values, strict=True)
        return pl.DataFrame([pl.Series(name, field, nan_to_null=True) for name, field in fields]).to_struct()


class _Seen(NamedTuple):
    """What there is in windows, of shape (2, windows): as it is, and in the mirror (see `Bars.mirrored`), where what
    falls rises. Ages are in candles; NaN where there is none."""

    swing: Floats
    """Price of the latest swing high, until it is broken."""
    swing_age: Floats
    against_low: Floats
    """The last falling candle."""
    against_high: Floats
    against_age: Floats
    block_low: Floats
    """The order block."""
    block_high: Floats
    marked_age: Floats
    block_age: Floats
    gap_low: Floats
    """The fair value gap."""
    gap_high: Floats
    gap_age: Floats
    trend: Floats
    trend_age: Floats


def _break(seen: _Seen, highs: Floats, close: Floats, k: int) -> Bools:
    """Where structure breaks upwards. See `swings.swing_highs` and `structure.breaks_upwards`."""
    peak = highs[..., k]
    confirmed = np.ones(peak.shape, np.bool_)
    for away in range(1, k + 1):
        confirmed &= (peak > highs[..., k - away]) & (peak >= highs[..., k + away])
    _put(confirmed, (seen.swing, peak), (seen.swing_age, 0.0))
    broken: Bools = (close > seen.swing) & (seen.swing_age <= REACH_CANDLES)
    _put(broken, (seen.swing, np.nan))
    return broken


def _turn(seen: _Seen, broken: Bools) -> None:
    """See `structure.trend_after`."""
    _put(broken != broken[::-1], (seen.trend, np.where(broken, 1.0, -1.0)), (seen.trend_age, 0.0))
    _put(seen.trend_age > REACH_CANDLES, (seen.trend, np.nan))


def _mark(seen: _Seen, broken: Bools, opened: Floats, high: Floats, low: Floats, close: Floats) -> None:
    """See `zones.bull_block`."""
    _put(
        broken & (seen.against_age <= REACH_CANDLES + 1),
        (seen.block_low, seen.against_low),
        (seen.block_high, seen.against_high),
        (seen.marked_age, seen.against_age),
        (seen.block_age, 0.0),
    )
    over = (close < seen.block_low) | (seen.block_age > REACH_CANDLES)
    _put(over, (seen.block_low, np.nan), (seen.block_high, np.nan), (seen.marked_age, np.nan))
    _put(close < opened, (seen.against_low, low), (seen.against_high, high), (seen.against_age, 0.0))


def _open_gap(seen: _Seen, high_before: Floats, low: Floats) -> None:
    """See `zones.bull_gap`."""
    _put(low > high_before, (seen.gap_low, high_before), (seen.gap_high, low), (seen.gap_age, 0.0))
    over = (low <= seen.gap_low) | (seen.gap_age > REACH_CANDLES)
    _put(over, (seen.gap_low, np.nan), (seen.gap_high, np.nan))


def _put(where: Bools, *values: tuple[Floats, Floats | float]) -> None:
    for target, value in values:
        np.copyto(target, value, where=where)


def _fields(bars: Bars, k: int) -> list[Floats]:
    """Values in the order of LANDSCAPE_FIELDS."""
    mirror = bars.mirrored()
    up, down = breaks_upwards(bars, k), breaks_upwards(mirror, k)

    def side(block: Zones, gap: Zones) -> list[Floats]:
        return [block.low, block.high, block.bar, gap.low, gap.high]

    bull = side(bull_block(bars, up), bull_gap(bars))
    bear = side(bull_block(mirror, down).mirrored(), bull_gap(mirror).mirrored())
    return [trend_after(bars, directions(bars, up, down)), *bull, *bear]
