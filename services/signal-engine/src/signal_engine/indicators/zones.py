"""Zones of price that a move left behind: order blocks and fair value gaps.

An order block is the last candle against the move before a break of structure (`structure.py`): it is marked there,
and visible from the candle that broke. A fair value gap is what lies between the first and third of three candles that
do not touch: its middle candle is marked, and it is visible from the third. A zone is there for REACH_CANDLES, until
the next of its kind or until the price invalidates it; `..._bar` says how many candles ago the marked candle was.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Bools, Floats, Mark, latest, over_bars
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.structure import breaks_upwards
from signal_engine.indicators.swings import swing_memory


class Zone(NamedTuple):
    """Of each row: the zone's bounds, how many candles ago its marked candle was, and its confirmation; or NaN."""

    low: Floats
    high: Floats
    bar: Floats
    confirmed: Floats

    def mirrored(self) -> Zone:
        return self._replace(low=-self.high, high=-self.low)


def block_memory(k: int) -> int:
    """A break with the swing it broke, or with a block as old as may be."""
    return REACH_CANDLES + max(swing_memory(k), REACH_CANDLES + 2)


def gap_memory() -> int:
    """The gap's confirmation and the two candles before it."""
    return REACH_CANDLES + 3


@indicator(memory=block_memory)
def order_block_bull_low(k: int = 3) -> pl.Expr:
    """Low of the latest falling candle before a break upwards; invalid once a candle closes below it."""
    return over_bars(lambda bars: _bull_block(bars, k).low)


@indicator(memory=block_memory)
def order_block_bull_high(k: int = 3) -> pl.Expr:
    """High of that candle."""
    return over_bars(lambda bars: _bull_block(bars, k).high)


@indicator(memory=block_memory)
def order_block_bull_bar(k: int = 3) -> pl.Expr:
    """How many candles ago it was."""
    return over_bars(lambda bars: _bull_block(bars, k).bar)


@indicator(memory=block_memory)
def order_block_bull_confirmed(k: int = 3) -> pl.Expr:
    """How many candles ago the break confirmed it."""
    return over_bars(lambda bars: _bull_block(bars, k).confirmed)


@indicator(memory=block_memory)
def order_block_bear_low(k: int = 3) -> pl.Expr:
    """Low of the latest rising candle before a break downwards."""
    return over_bars(lambda bars: _bear_block(bars, k).low)


@indicator(memory=block_memory)
def order_block_bear_high(k: int = 3) -> pl.Expr:
    """High of that candle; invalid once a candle closes above it."""
    return over_bars(lambda bars: _bear_block(bars, k).high)


@indicator(memory=block_memory)
def order_block_bear_bar(k: int = 3) -> pl.Expr:
    """How many candles ago it was."""
    return over_bars(lambda bars: _bear_block(bars, k).bar)


@indicator(memory=block_memory)
def order_block_bear_confirmed(k: int = 3) -> pl.Expr:
    """How many candles ago the break confirmed it."""
    return over_bars(lambda bars: _bear_block(bars, k).confirmed)


@indicator(memory=gap_memory)
def fvg_bull_low() -> pl.Expr:
    """High of the candle before the latest gap upwards; filled once the price trades down to it."""
    return over_bars(lambda bars: bull_gap(bars).low)


@indicator(memory=gap_memory)
def fvg_bull_high() -> pl.Expr:
    """Low of the candle after that gap."""
    return over_bars(lambda bars: bull_gap(bars).high)


@indicator(memory=gap_memory)
def fvg_bull_bar() -> pl.Expr:
    """How many candles ago the gap's middle candle was; 1 on the candle that confirms it."""
    return over_bars(lambda bars: bull_gap(bars).bar)


@indicator(memory=gap_memory)
def fvg_bear_low() -> pl.Expr:
    """High of the candle after the latest gap downwards."""
    return over_bars(lambda bars: _bear_gap(bars).low)


@indicator(memory=gap_memory)
def fvg_bear_high() -> pl.Expr:
    """Low of the candle before that gap; filled once the price trades up to it."""
    return over_bars(lambda bars: _bear_gap(bars).high)


@indicator(memory=gap_memory)
def fvg_bear_bar() -> pl.Expr:
    """How many candles ago the gap's middle candle was; 1 on the candle that confirms it."""
    return over_bars(lambda bars: _bear_gap(bars).bar)


def bull_block(bars: Bars, breaks: Bools) -> Zone:
    """The order block of each row's latest of these breaks upwards."""
    falling = latest(bars, bars.close < bars.open)  # a break is never a window's first row: the row before is its own
    low, high, ago = (np.roll(values, 1) for values in (falling.take(bars.low), falling.take(bars.high), falling.age()))
    confirmed = latest(bars, breaks & ~np.isnan(low))
    low, high, age = confirmed.take(low), confirmed.take(high), confirmed.age()
    return _until(bars, bars.close < low, confirmed, Zone(low, high, age + confirmed.take(ago) + 1.0, age))


def bull_gap(bars: Bars) -> Zone:
    """Each row's latest fair value gap upwards."""
    before = np.roll(bars.high, 2)
    confirmed = latest(bars, (bars.low > before) & (bars.preceding >= 2))
    low, high, age = confirmed.take(before), confirmed.take(bars.low), confirmed.age()
    return _until(bars, bars.low <= low, confirmed, Zone(low, high, age + 1.0, age))


def _bull_block(bars: Bars, k: int) -> Zone:
    return bull_block(bars, breaks_upwards(bars, k))


def _bear_block(bars: Bars, k: int) -> Zone:
    return _bull_block(bars.mirrored(), k).mirrored()


def _bear_gap(bars: Bars) -> Zone:
    return bull_gap(bars.mirrored()).mirrored()


def _until(bars: Bars, over: Bools, confirmed: Mark, zone: Zone) -> Zone:
    """The zone where it was confirmed and nothing ended it since."""
    ended = latest(bars, over)
    stands = confirmed.found & (~ended.found | (ended.row < confirmed.row))
    return Zone(*(np.where(stands, values, np.nan) for values in zone))
