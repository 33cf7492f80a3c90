"""How a signal did, in units of R, the distance from its entry to its stop.

A signal lives from its confirmation until its stop, its last target or its expiry, whichever is first. Its best and
worst prices are those it saw while alive. The row that ends it is read conservatively: the stop's row shows nothing
favourable, the last target's row nothing beyond that exit, but all that was adverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tocsin_common.events import Side
from tocsin_trading.exits import Touch
from tocsin_trading.prices import PricePath


@dataclass(slots=True)
class Excursion:
    """The lowest and highest price so far; both begin at the entry."""

    low: float
    high: float

    def include(self, path: PricePath, rows: slice) -> None:
        """Add the rows of a path, all of them lived through."""
        if rows.stop > rows.start:
            self.low = min(self.low, float(path.low[rows].min()))
            self.high = max(self.high, float(path.high[rows].max()))

    def include_end(self, path: PricePath, touch: Touch, side: Side) -> None:
        """Add the row that ended the signal, conservatively."""
        low = high = touch.price
        if touch.kind == "target":
            low, high = (float(path.low[touch.row]), high) if side == "long" else (low, float(path.high[touch.row]))
        self.low = min(self.low, low)
        self.high = max(self.high, high)


@dataclass(frozen=True, slots=True)
class Measure:
    """`r_multiple` is the result; `mae_r <= 0 <= mfe_r`; `targets_hit` counts targets touched while alive."""

    r_multiple: float
    mfe_r: float
    mae_r: float
    targets_hit: int


def is_coherent(side: Side, entry: float, stop: float, targets: Sequence[float]) -> bool:
    """Whether stop, entry and targets lie in this order (long; reversed for short), targets nearest first.

    A stop or target at or below zero is coherent: no price will touch it.
    """
    levels = [stop, entry, *targets]
    if side == "short":
        levels.reverse()
    return bool(targets) and entry > 0 and all(low < high for low, high in pairwise(levels))


def measure(side: Side, entry: float, stop: float, targets: Sequence[float], seen: Excursion, end: float) -> Measure:
    """The outcome of a coherent signal that left at the price `end`."""
    risk = abs(entry - stop)
    sign = 1.0 if side == "long" else -1.0
    best, worst = (seen.high, seen.low) if side == "long" else (seen.low, seen.high)
    return Measure(
        r_multiple=sign * (end - entry) / risk,
        mfe_r=max(0.0, sign * (best - entry) / risk),
        mae_r=min(0.0, sign * (worst - entry) / risk),
        targets_hit=sum(1 for target in targets if sign * (best - target) >= 0),
    )
