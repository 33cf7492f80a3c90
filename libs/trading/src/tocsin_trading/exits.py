"""Where a position or signal ends on a price path: the first touch of its stop or its last target.

The conservative reading: a row (a candle's body) that touches both counts as the stop. A row that is one price, a
trade or a candle's open, exits at that price, so a gap through the stop exits at the worse price behind it; inside a
candle's body the level itself is the price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tocsin_common.events import Side
from tocsin_trading.prices import Floats, PricePath


@dataclass(frozen=True, slots=True)
class Touch:
    """The row of a path that ended something, what it touched and the price to leave at."""

    row: int
    kind: Literal["stop", "target"]
    price: float


def first_touch(path: PricePath, rows: slice, side: Side, stop: float, target: float) -> Touch | None:
    """The first touch of the stop or the (last) target in `path[rows]`; None when neither is touched.

    `rows` has both bounds, as `slice(start, end)`.
    """
    low, high = path.low[rows], path.high[rows]
    if side == "long":
        stop_row, target_row = _first(low <= stop), _first(high >= target)
    else:
        stop_row, target_row = _first(high >= stop), _first(low <= target)
    if stop_row is None and target_row is None:
        return None
    if target_row is None or (stop_row is not None and stop_row <= target_row):
        assert stop_row is not None
        return Touch(rows.start + stop_row, "stop", _exit_price(low, high, stop_row, stop))
    return Touch(rows.start + target_row, "target", _exit_price(low, high, target_row, target))


def _first(hits: npt.NDArray[np.bool_]) -> int | None:
    if not len(hits):
        return None
    row = int(hits.argmax())
    return row if hits[row] else None


def _exit_price(low: Floats, high: Floats, row: int, level: float) -> float:
    return float(low[row]) if low[row] == high[row] else level
