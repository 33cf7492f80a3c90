"""Price paths: what an instrument's price did, as columns, whether it is known from trades or from candles.

Moments are *ticks*, integers that order everything: market time `t` (ms) has the even tick `2t` and the odd tick
`2t + 1`. A trade at `t` is on the odd tick, so what is exclusive of `t` (an expiry) sits before it, on the even one.
A candle of `open_ms <= t < close_ms` becomes known as a whole, in its last millisecond, as two rows: its open, a
single price, on the even tick of `close_ms - 1`, and its body, the range low to high, on the odd one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


def tick_before(ms: int) -> int:
    """The tick before all trades at `ms`."""
    return 2 * ms


def tick_of_trade(ms: int) -> int:
    """The tick of the trades at `ms`; everything known at `ms` inclusive is at or before it."""
    return 2 * ms + 1


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
        tick = int(self.tick[row])
        return tick // 2 if tick % 2 else int(self.since_ms[row])


def from_trades(ts_ms: Ints, price: Floats) -> PricePath:
    """One row per trade; `ts_ms` ascending."""
    return PricePath(2 * ts_ms + 1, ts_ms, price, price, price)


def from_candles(open_ms: Ints, length_ms: Ints, open_: Floats, high: Floats, low: Floats, close: Floats) -> PricePath:
    """Two rows per candle, its open and then its body; `open_ms` and `open_ms + length_ms` ascending."""
    last_ms = open_ms + length_ms - 1
    return PricePath(
        _interleave(2 * last_ms, 2 * last_ms + 1),
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
