"""Zones of price that a move left behind: order blocks and fair value gaps.

An order block is the last candle against the move before a break of structure (`structure.py`): it is marked there,
and visible from the candle that broke. A fair value gap is what lies between the first and third of three candles that
do not touch: its middle candle is marked, and it is visible from the third. A zone is there for REACH_CANDLES, until
the next of its kind or until the price invalidates it; `..._bar` says how many candles ago the marked candle was.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Bools, Floats, Ints, OverBars
from signal_engine.indicators.indicator import indicator
from signal_engine.indicators.spans import Spans, spans
from signal_engine.indicators.structure import breaks_upwards
from signal_engine.indicators.swings import swing_memory


class Zones(NamedTuple):
    """Zones one after the other: when each stands, its bounds, and the row of its marked candle.

    The properties spread them over the rows: NaN where no zone stands.
    """

    stands: Spans
    bottom: Floats
    top: Floats
    marked: Ints

    @property
    def low(self) -> Floats:
        """Lower bound."""
        return self.stands.spread(self.bottom)

    @property
    def high(self) -> Floats:
        """Upper bound."""
        return self.stands.spread(self.top)

    @property
    def bar(self) -> Floats:
        """How many candles ago the marked candle was."""
        return np.arange(self.stands.rows) - self.stands.spread(self.marked)

    @property
    def confirmed(self) -> Floats:
        """How many candles ago the zone was confirmed."""
        return self.stands.age()

    def mirrored(self) -> Zones:
        """The zones of the market of which this one is the mirror."""
        return self._replace(bottom=-self.top, top=-self.bottom)


def block_memory(k: int) -> int:
    """A break with the swing it broke, or with a block as old as may be."""
    return REACH_CANDLES + max(swing_memory(k), REACH_CANDLES + 2)


def gap_memory() -> int:
    """The gap's confirmation and the two candles before it."""
    return REACH_CANDLES + 3


@indicator(memory=block_memory)
def order_block_bull_low(k: int = 3) -> OverBars:
    """Low of the latest falling candle before a break upwards; invalid once a candle closes below it."""
    return OverBars(lambda bars: _bull_block(bars, k).low)


@indicator(memory=block_memory)
def order_block_bull_high(k: int = 3) -> OverBars:
    """High of that candle."""
    return OverBars(lambda bars: _bull_block(bars, k).high)


@indicator(memory=block_memory)
def order_block_bull_bar(k: int = 3) -> OverBars:
    """How many candles ago it was."""
    return OverBars(lambda bars: _bull_block(bars, k).bar)


@indicator(memory=block_memory)
def order_block_bull_confirmed(k: int = 3) -> OverBars:
    """How many candles ago the break confirmed it."""
    return OverBars(lambda bars: _bull_block(bars, k).confirmed)


@indicator(memory=block_memory)
def order_block_bear_low(k: int = 3) -> OverBars:
    """Low of the latest rising candle before a break downwards."""
    return OverBars(lambda bars: _bear_block(bars, k).low)


@indicator(memory=block_memory)
def order_block_bear_high(k: int = 3) -> OverBars:
    """High of that candle; invalid once a candle closes above it."""
    return OverBars(lambda bars: _bear_block(bars, k).high)


@indicator(memory=block_memory)
def order_block_bear_bar(k: int = 3) -> OverBars:
    """How many candles ago it was."""
    return OverBars(lambda bars: _bear_block(bars, k).bar)


@indicator(memory=block_memory)
def order_block_bear_confirmed(k: int = 3) -> OverBars:
    """How many candles ago the break confirmed it."""
    return OverBars(lambda bars: _bear_block(bars, k).confirmed)


@indicator(memory=gap_memory)
def fvg_bull_low() -> OverBars:
    """High of the candle before the latest gap upwards; filled once the price trades down to it."""
    return OverBars(lambda bars: bull_gap(bars).low)


@indicator(memory=gap_memory)
def fvg_bull_high() -> OverBars:
    """Low of the candle after that gap."""
    return OverBars(lambda bars: bull_gap(bars).high)


@indicator(memory=gap_memory)
def fvg_bull_bar() -> OverBars:
    """How many candles ago the gap's middle candle was; 1 on the candle that confirms it."""
    return OverBars(lambda bars: bull_gap(bars).bar)


@indicator(memory=gap_memory)
def fvg_bear_low() -> OverBars:
    """High of the candle after the latest gap downwards."""
    return OverBars(lambda bars: _bear_gap(bars).low)


@indicator(memory=gap_memory)
def fvg_bear_high() -> OverBars:
    """Low of the candle before that gap; filled once the price trades up to it."""
    return OverBars(lambda bars: _bear_gap(bars).high)


@indicator(memory=gap_memory)
def fvg_bear_bar() -> OverBars:
    """How many candles ago the gap's middle candle was; 1 on the candle that confirms it."""
    return OverBars(lambda bars: _bear_gap(bars).bar)


def bull_block(bars: Bars, breaks: Ints) -> Zones:
    """The order blocks of these breaks upwards, given by their rows."""
    falling = np.append(-1, np.flatnonzero(bars.close < bars.open))
    block = falling[np.searchsorted(falling, breaks) - 1]
    known = (block >= breaks - bars.preceding[breaks]) & (breaks - block <= REACH_CANDLES + 1)
    block, breaks = block[known], breaks[known]
    low, confirmed = bars.low[block], spans(bars, breaks)
    return Zones(_until(bars.close < confirmed.spread(low), confirmed), low, bars.high[block], block)


def bull_gap(bars: Bars) -> Zones:
    """All fair value gaps upwards."""
    events = np.flatnonzero(bars.low[2:] > bars.high[:-2]) + 2
    events = events[bars.preceding[events] >= 2]
    low, confirmed = bars.high[events - 2], spans(bars, events)
    return Zones(_until(bars.low <= confirmed.spread(low), confirmed), low, bars.low[events], events - 1)


def _bull_block(bars: Bars, k: int) -> Zones:
    return bull_block(bars, breaks_upwards(bars, k))


def _bear_block(bars: Bars, k: int) -> Zones:
    return _bull_block(bars.mirrored(), k).mirrored()


def _bear_gap(bars: Bars) -> Zones:
    return bull_gap(bars.mirrored()).mirrored()


def _until(over: Bools, confirmed: Spans) -> Spans:
    """From each confirmation until the zone is over."""
    return confirmed._replace(end=confirmed.first(over))
