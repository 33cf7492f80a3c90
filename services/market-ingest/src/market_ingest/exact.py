"""Exact sums of float64 quantities, as if every one of them were the decimal number it prints as.

An exchange sends `"0.1"`, and three of them are 0.3, not 0.30000000000000004. Volume is therefore defined as
`float(sum(Decimal(repr(amount))))` in unlimited precision: it does not depend on order or batching.

The fast way counts in integers of 1e-8: `k = rint(amount * 1e8)` is accepted only if `k / 1e8 == amount`, and then
`k * 1e-8` *is* the decimal that `amount` prints as, because k has at most 15 digits, two decimals of at most 15
digits never share a float64, and `repr` gives the shortest. Everything else (more decimals, amounts from 5.6 million
up) is summed as Decimal, row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

DECIMALS = 8
UNITS = 10**DECIMALS

FAST_LIMIT = 2**49
"""Units a fast quantity may have: below 10^15, so 15 digits."""

MAX_ROWS = 2**13
"""Rows one call may sum whatever they are: 2^49 * 2^13 = 2^62 stays inside int64."""

MAX_TOTAL = 2**61 / UNITS
"""What any number of rows may come to: below 2^62 units, however a float64 rounds it."""

_EXACT = Context(prec=1000)
"""Every float64 prints as at most 17 digits between 1e-324 and 1e+308: no sum of them is ever rounded here."""


@dataclass(frozen=True, slots=True)
class SegmentSums:
    """Exact sums of consecutive segments: `units` of 1e-8 plus, for some segments, a `rest` no unit could hold."""

    units: NDArray[np.int64]
    rest: dict[int, Decimal] = field(default_factory=dict)

    def exact(self, segment: int) -> Decimal:
        """The sum of one segment."""
        return add(Decimal(int(self.units[segment])).scaleb(-DECIMALS), self.rest.get(segment, Decimal()))

    def rounded(self) -> NDArray[np.float64]:
        """All sums, each correctly rounded to float64."""
        floats: NDArray[np.float64] = self.units / UNITS  # one rounding, as long as the integer itself is a float64
        wide = self.units >= 2**53
        if not self.rest and not wide.any():
            return floats
        for segment in {*np.flatnonzero(wide).tolist(), *self.rest}:
            floats[segment] = float(self.exact(segment))
        return floats


def total(before: Decimal, amounts: Iterable[float]) -> Decimal:
    """What these come to together with what was before."""
    for amount in amounts:
        before = _EXACT.add(before, Decimal(repr(amount)))
    return before


def add(left: Decimal, right: Decimal) -> Decimal:
    """Add without ever rounding."""
    return _EXACT.add(left, right)


def fits(values: NDArray[np.float64]) -> bool:
    """Whether so many values, or such small ones, can be summed at once."""
    return len(values) <= MAX_ROWS or bool(values.sum() < MAX_TOTAL)


def segment_sums(values: NDArray[np.float64], starts: NDArray[np.int64]) -> SegmentSums:
    """Sum `values[starts[i]:starts[i + 1]]` for every i. Values are finite, not negative, and fit."""
    if not fits(values):
        raise ValueError(f"{len(values)} rows that come to {MAX_TOTAL:g} or more cannot be summed at once")
    with np.errstate(over="ignore"):
        scaled = np.rint(values * UNITS)
    fast = (scaled < FAST_LIMIT) & (scaled / UNITS == values)
    if fast.all():
        return SegmentSums(np.add.reduceat(scaled.astype(np.int64), starts))
    units = np.add.reduceat(np.where(fast, scaled, 0.0).astype(np.int64), starts)
    slow = np.flatnonzero(~fast)
    rest: dict[int, Decimal] = {}
    segments = np.searchsorted(starts, slow, side="right") - 1
    for segment, value in zip(segments.tolist(), values[slow].tolist(), strict=True):
        rest[segment] = add(rest.get(segment, Decimal()), Decimal(repr(value)))
    return SegmentSums(units, rest)
