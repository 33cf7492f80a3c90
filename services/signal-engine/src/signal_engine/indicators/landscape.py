"""Structure, order blocks and fair value gaps of both sides in one column.

`structure_trend`, `order_block_bull_low` and their like each look at the whole frame anew. Who needs several of them
asks for this column and takes its fields: what they share is computed once.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from signal_engine.indicators.bars import Bars, Floats, Ints
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.spans import spans
from signal_engine.indicators.structure import breaks_upwards, directions, structure_memory
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
    """`landscape`. See `LooksBack`."""

    def __init__(self, k: int) -> None:
        self._k = k

    @property
    def expr(self) -> pl.Expr:
        schema = pl.Struct(dict.fromkeys(LANDSCAPE_FIELDS, pl.Float64))
        return pl.map_batches(list(Bars._fields), lambda columns: self._of(Bars.of(columns)), return_dtype=schema)

    def at(self, bars: Bars, rows: Ints) -> pl.Series:
        return self._of(bars, rows)

    def _of(self, bars: Bars, rows: Ints | None = None) -> pl.Series:
        fields = zip(LANDSCAPE_FIELDS, _fields(bars, self._k, rows), strict=True)
        return pl.DataFrame([pl.Series(name, values, nan_to_null=True) for name, values in fields]).to_struct()


def _fields(bars: Bars, k: int, rows: Ints | None) -> list[Floats]:
    """Values in the order of LANDSCAPE_FIELDS, in some rows or in all."""
    mirror = bars.mirrored()
    up, down = breaks_upwards(bars, k), breaks_upwards(mirror, k)
    breaks = directions(bars, up, down)
    events = np.flatnonzero(breaks)
    trend = spans(bars, events).at(breaks[events], rows)
    at = bars.rows if rows is None else rows

    def side(block: Zones, gap: Zones) -> list[Floats]:
        low, high, marked = (block.stands.at(values, rows) for values in (block.bottom, block.top, block.marked))
        return [low, high, at - marked, gap.stands.at(gap.bottom, rows), gap.stands.at(gap.top, rows)]

    bull = side(bull_block(bars, up, rows), bull_gap(bars, rows))
    bear = side(bull_block(mirror, down, rows).mirrored(), bull_gap(mirror, rows).mirrored())
    return [trend, *bull, *bear]
