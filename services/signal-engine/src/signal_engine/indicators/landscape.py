"""Structure, order blocks and fair value gaps of both sides in one column.

`structure_trend`, `order_block_bull_low` and their like each look at the whole frame anew. Who needs several of them
asks for this column and takes its fields: what they share is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl

from signal_engine.indicators.bars import Bars, Floats
from signal_engine.indicators.structure import breaks_upwards, directions, structure_memory, trend_after
from signal_engine.indicators.zones import Zones, block_memory, bull_block, bull_gap, gap_memory

LANDSCAPE_FIELDS = (
    "trend",
    *("bull_block_low", "bull_block_high", "bull_block_bar", "bull_gap_low", "bull_gap_high"),
    *("bear_block_low", "bear_block_high", "bear_block_bar", "bear_gap_low", "bear_gap_high"),
)
"""`trend` is `structure_trend`, `bull_block_low` is `order_block_bull_low`, `bull_gap_low` is `fvg_bull_low` and so
on: equal in value, null where there is none."""


@cache
def landscape(k: int) -> pl.Expr:
    """A struct of LANDSCAPE_FIELDS (f64) over the frame of windows, named `landscape_3` after the k of its swings.

    One expression for each k, so that who asks twice is seen to mean the same.
    """

    def evaluate(columns: Sequence[pl.Series]) -> pl.Series:
        fields = zip(LANDSCAPE_FIELDS, _fields(Bars.of(columns), k), strict=True)
        return pl.DataFrame([pl.Series(name, values, nan_to_null=True) for name, values in fields]).to_struct()

    schema = pl.Struct(dict.fromkeys(LANDSCAPE_FIELDS, pl.Float64))
    return pl.map_batches(list(Bars._fields), evaluate, return_dtype=schema).alias(f"landscape_{k}")


def landscape_memory(k: int) -> int:
    """Candles until everything before them is forgotten: the longest of its fields."""
    return max(structure_memory(k), block_memory(k), gap_memory())


def _fields(bars: Bars, k: int) -> list[Floats]:
    """Values in the order of LANDSCAPE_FIELDS."""
    mirror = bars.mirrored()
    up, down = breaks_upwards(bars, k), breaks_upwards(mirror, k)
    trend = trend_after(bars, directions(bars, up, down))
    bull = _side(bull_block(bars, up), bull_gap(bars))
    bear = _side(bull_block(mirror, down).mirrored(), bull_gap(mirror).mirrored())
    return [trend, *bull, *bear]


def _side(block: Zones, gap: Zones) -> list[Floats]:
    return [block.low, block.high, block.bar, gap.low, gap.high]
