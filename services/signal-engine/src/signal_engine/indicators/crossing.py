"""Conditions on two columns of one market."""

from __future__ import annotations

import polars as pl


def crosses_above(left: pl.Expr, right: pl.Expr | float) -> pl.Expr:
    """`left` is above `right` now and was not one candle earlier."""
    return (left > right) & (left.shift(1) <= _one_earlier(right))


def crosses_below(left: pl.Expr, right: pl.Expr | float) -> pl.Expr:
    """`left` is below `right` now and was not one candle earlier."""
    return (left < right) & (left.shift(1) >= _one_earlier(right))


def _one_earlier(value: pl.Expr | float) -> pl.Expr | float:
    return value.shift(1) if isinstance(value, pl.Expr) else value
