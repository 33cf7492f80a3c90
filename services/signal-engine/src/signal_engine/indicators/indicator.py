"""What an indicator is: a named function of periods that gives one expression, and how far back it remembers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Generic, ParamSpec

import polars as pl

from signal_engine.indicators.bars import LooksBack
from signal_engine.indicators.recursive import Recursive, Stepwise

OPEN, HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))

WINDOW = "window"
"""The column that says which window a row belongs to."""

WEIGHT = 1e-9
"""What is left of everything before, once an indicator has seen as many candles as it remembers."""

P = ParamSpec("P")

Made = pl.Expr | LooksBack | Recursive | Stepwise
"""What an indicator's function gives."""


class Indicator(Generic[P]):
    """A function of periods that gives one expression over `frames.py`, named after itself and its periods.

    `memory`, called with the same periods, says how many candles (this one included) it takes until everything before
    them weighs less than WEIGHT; None where no number does (running totals, paths).
    """

    def __init__(self, function: Callable[P, Made], memory: Callable[..., int | None]) -> None:
        self.name = function.__name__
        self.memory = memory
        self.__doc__ = function.__doc__
        self._function = function
        self._made: dict[str, pl.Expr] = {}
        self._signature = inspect.signature(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> pl.Expr:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        name = "_".join([self.name, *(_text(period) for period in bound.args)])
        if name not in self._made:  # one expression, so that who asks twice is seen to mean the same
            made = self._function(*args, **kwargs)
            self._made[name] = (made if isinstance(made, pl.Expr) else made.expr).alias(name)
            if not isinstance(made, pl.Expr):
                _BEHIND[name] = (self._made[name], made)
        return self._made[name]


_BEHIND: dict[str, tuple[pl.Expr, LooksBack | Recursive | Stepwise]] = {}
"""By the name of its column."""


def behind(column: pl.Expr) -> LooksBack | Recursive | Stepwise | None:
    """What an indicator's column can be computed by without whole windows; None for every other expression."""
    expr, found = _BEHIND.get(column.meta.output_name(), (None, None))
    return found if expr is column else None


def indicator(
    memory: Callable[..., int | None],
) -> Callable[[Callable[P, Made]], Indicator[P]]:
    """Make an `Indicator` of a function, all of whose parameters are numbers with defaults."""
    return lambda function: Indicator(function, memory)


def talib(expr: pl.Expr) -> pl.Expr:
    """A TA-Lib expression run over each window on its own; null where TA-Lib has NaN, which no comparison survives.

    By a function, as Polars' own `fill_nan` computes what it fills three times.
    """
    return expr.over(WINDOW).map_batches(_nan_to_null, return_dtype=pl.Float64)


def _nan_to_null(column: pl.Series) -> pl.Series:
    return column.fill_nan(None)


@cache
def settling(*alphas: float) -> int:
    """Candles until recursions y += alpha * (x - y), each fed by the one before, have forgotten where they began.

    Counted on what is left of a step from 1 to 0.
    """
    left, candles = [1.0] * len(alphas), 0
    while left[-1] >= WEIGHT:
        value = 0.0
        for stage, alpha in enumerate(alphas):
            value = left[stage] = left[stage] + alpha * (value - left[stage])
        candles += 1
    return candles


def span(period: int) -> float:
    """The alpha of an exponential average of `period` candles."""
    return 2.0 / (period + 1)


def wilder(period: int) -> int:
    """The memory of Wilder's average of `period` changes: alpha is 1 / period."""
    return 1 + period + settling(1 / period)


def _text(period: object) -> str:
    return f"{period:g}" if isinstance(period, float) else str(period)
