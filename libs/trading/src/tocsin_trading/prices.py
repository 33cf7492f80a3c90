"""Price paths: what an instrument's price did, as columns, whether it is known from trades or from candles.

Moments are *ticks*, integers that order everything that happens in one millisecond: first the candles that close,
each as two rows, its open (a single price) and its body (the range low to high); then what time itself does, the
clock striking; then the trades. A candle is known as a whole when it closes, never before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


TICKS_PER_MS = 4
_OPEN, _BODY, _CLOCK, _TRADE = range(TICKS_PER_MS)


def first_tick(ms: int) -> int:
    """The first tick of a millisecond: what is before it happened before `ms`."""
    return TICKS_PER_MS * ms


def tick_of_clock(ms: int) -> int:
    """The moment the clock strikes `ms`: after candles that close at `ms`, before the trades."""
    return TICKS_PER_MS * ms + _CLOCK


def tick_of_trade(ms: int) -> int:
    """The tick of the trades at `ms`; everything known at `ms` inclusive is at or before it."""
    return TICKS_PER_MS * ms + _TRADE


def ms_of(tick: int) -> int:
    """The millisecond of a tick."""
    return tick // TICKS_PER_MS


@dataclass(frozen=True, slots=True)
class PricePath:
    """Rows in time order, equally long columns.

    `tick` (ascending) is when the row is known, `since_ms` (ascending) when its prices begin: a trade's time, a
    candle's open. `low <= last <= high`; they are one price for trades and for the open of a candle.
    """

    tick: Ints
    since_ms: Ints
    low: Floats
    high: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.tick)

    def row_since(self, ms: int) -> int:
        """The first row whose prices begin at or after `ms`; `len(path)` when there is none."""
        return int(self.since_ms.searchsorted(ms, "left"))

    def rows_before(self, tick: int) -> int:
        """How many rows are known before `tick`."""
        return int(self.tick.searchsorted(tick, "left"))

    def rows_through(self, tick: int) -> int:
        """How many rows are known at or before `tick`."""
        return int(self.tick.searchsorted(tick, "right"))

    def event_ms(self, row: int) -> int:
        """Market time of what happens in a row: the trade, the candle's open, the last moment of the candle's body."""
        ms, part = divmod(int(self.tick[row]), TICKS_PER_MS)
        if part == _OPEN:
            return int(self.since_ms[row])
        return ms - 1 if part == _BODY else ms


def from_trades(ts_ms: Ints, price: Floats) -> PricePath:
    """One row per trade; `ts_ms` ascending."""
    return PricePath(TICKS_PER_MS * ts_ms + _TRADE, ts_ms, price, price, price)


def from_candles(open_ms: Ints, length_ms: Ints, open_: Floats, high: Floats, low: Floats, close: Floats) -> PricePath:
    """Two rows per candle, its open and then its body; `open_ms` and `open_ms + length_ms` ascending."""
    closing = TICKS_PER_MS * (open_ms + length_ms)
    return PricePath(
        _interleave(closing + _OPEN, closing + _BODY),
        np.repeat(open_ms, 2),
        _interleave(open_, low),
        _interleave(open_, high),
        _interleave(open_, close),
    )


def concatenate(first: PricePath, second: PricePath) -> PricePath:
    """One path after the other."""
    return PricePath(
        np.concatenate((first.tick, second.tick)),
        np.concatenate((first.since_ms, second.since_ms)),
        np.concatenate((first.low, second.low)),
        np.concatenate((first.high, second.high)),
        np.concatenate((first.last, second.last)),
    )


def _interleave(even: npt.NDArray[Number], odd: npt.NDArray[Number]) -> npt.NDArray[Number]:
    return np.column_stack((even, odd)).reshape(-1)
