"""Indicators as Polars expressions over the frame of windows (`Windows.frame`).

Every function returns an expression named after itself and its periods (`ema_12`), so that strategies which ask for
the same indicator share one column. Recursions and sums run within a window, from its first row, oldest first. What
only looks back a fixed number of candles may look past a window's first rows: those never fire (`warm_up_candles`).

Seeding: a recursion starts with the first row's own value. The seed's weight falls by 1 - alpha per candle; see
`windows.WARM_UP_CANDLES` for what is left of it. A rolling sum that is not full yet is null.
"""

from __future__ import annotations

import polars as pl

HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("high", "low", "close", "volume"))

BEFORE = pl.col("before")
"""Close of the candle before this one; for a window's first row its own open."""

WINDOW = "window"
"""The column that says which window a row belongs to."""

TINY = 1e-300
"""A divisor for what would be 0 / 0. (Polars evaluates the operands of a `when` again and again: this is cheaper.)"""


def ema(period: int) -> pl.Expr:
    """Exponential moving average of closes, alpha = 2 / (period + 1)."""
    return CLOSE.ewm_mean(span=period, adjust=False).over(WINDOW).alias(f"ema_{period}")


def sma(period: int) -> pl.Expr:
    """Simple moving average of the last `period` closes."""
    return _mean(CLOSE, period).alias(f"sma_{period}")


def volume_ratio(period: int) -> pl.Expr:
    """Volume of the candle over the mean volume of the last `period` candles, 0 where nothing traded in all of them."""
    return (VOLUME / _mean(VOLUME, period).clip(lower_bound=TINY)).alias(f"volume_ratio_{period}")


def atr(period: int) -> pl.Expr:
    """Average true range in price units, smoothed as Wilder did (alpha = 1 / period).

    J. Welles Wilder, New Concepts in Technical Trading Systems (1978).
    """
    true_range = pl.max_horizontal(HIGH - LOW, (HIGH - BEFORE).abs(), (LOW - BEFORE).abs())
    return _wilder(true_range, period).alias(f"atr_{period}")


def rsi(period: int) -> pl.Expr:
    """Relative strength index 0..100 with Wilder's averages; 50 where the price never moved.

    100 * gain / (gain + loss) = 50 * (1 + mean change / mean absolute change), as gain - loss is the mean change.
    """
    change = CLOSE - BEFORE
    moved = _wilder(change.abs(), period).clip(lower_bound=TINY)
    return (50.0 * (1.0 + _wilder(change, period) / moved)).alias(f"rsi_{period}")


def highest(period: int) -> pl.Expr:
    """Upper Donchian channel: the highest high of the `period` candles before this one."""
    return HIGH.rolling_max(period).shift(1).alias(f"highest_{period}")


def lowest(period: int) -> pl.Expr:
    """Lower Donchian channel: the lowest low of the `period` candles before this one."""
    return LOW.rolling_min(period).shift(1).alias(f"lowest_{period}")


def crosses_above(left: pl.Expr, right: pl.Expr | float) -> pl.Expr:
    """`left` is above `right` now and was not one candle earlier."""
    return (left > right) & (left.shift(1) <= _one_earlier(right))


def crosses_below(left: pl.Expr, right: pl.Expr | float) -> pl.Expr:
    """`left` is below `right` now and was not one candle earlier."""
    return (left < right) & (left.shift(1) >= _one_earlier(right))


def _one_earlier(value: pl.Expr | float) -> pl.Expr | float:
    return value.shift(1) if isinstance(value, pl.Expr) else value


def _mean(values: pl.Expr, period: int) -> pl.Expr:
    return values.rolling_mean(period).over(WINDOW)


def _wilder(values: pl.Expr, period: int) -> pl.Expr:
    return values.ewm_mean(alpha=1.0 / period, adjust=False).over(WINDOW)
