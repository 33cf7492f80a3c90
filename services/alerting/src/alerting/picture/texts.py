"""The numbers of a picture: as many digits as a phone shows, and equally many decimals for what stands together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

LEVEL_DIGITS, TICK_DIGITS = 6, 12
"""Significant digits of the largest: enough to tell levels apart; for ticks, enough to undo the errors of floats."""

LARGEST, SMALLEST = 1e12, 1e-9
"""Prices beyond are written as powers of ten."""


def level_labels(prices: Sequence[float]) -> list[str]:
    """`67,167.4` beside `66,493.0`: the exact prices stand in the alert's text."""
    return labels(prices, LEVEL_DIGITS)


def tick_labels(prices: Sequence[float]) -> list[str]:
    """Round prices of an axis in full: `0.0000145` beside `0.0000150`."""
    return labels(prices, TICK_DIGITS)


def labels(prices: Sequence[float], digits: int) -> list[str]:
    """Prices with the decimals that `digits` significant digits of the largest leave, without common final zeros."""
    largest = max(map(abs, prices), default=0.0)
    if not largest:
        return ["0"] * len(prices)
    if not SMALLEST <= largest < LARGEST:
        return [f"{price:.{min(digits, LEVEL_DIGITS) - 1}g}" for price in prices]
    places = max(digits - 1 - math.floor(math.log10(largest)), 0)
    exact = [Decimal(f"{price:.{places}f}").normalize() for price in prices]
    places = max(0, *(-int(price.as_tuple().exponent) for price in exact))
    return [f"{price:,.{places}f}" for price in exact]
