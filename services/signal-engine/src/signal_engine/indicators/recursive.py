"""Indicators whose next value follows from a state and the next candle: of one window, or of many in step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import polars as pl

from signal_engine.indicators.bars import Floats

KEPT_VALUES = 8
"""Candles whose values are kept, at the least: one that is new is looked at with a few before it."""

Update = Callable[..., float]
"""Takes the next candle, a value for each column, and gives the indicator's value there; NaN where it has none."""

Opened = tuple[Update, Floats]
"""What goes on after a window's last candle, and the values of its last candles: KEPT_VALUES of them, or more."""


@runtime_checkable
class Recursive(Protocol):
    """An indicator over windows that can be carried on from a window's last candle: what `Update` gives is what the
    expression gives of the longer window, to the last bit.

    `columns` are what it reads of a candle, out of PRICES and `open_ms`.
    """

    columns: tuple[str, ...]

    @property
    def expr(self) -> pl.Expr:
        """The indicator as an expression over the frame of windows."""

    def opened(self, *arrays: Floats) -> Opened | None:
        """Of one window, an array for each column, finite; None where it is too short to have a state."""


@runtime_checkable
class Stepwise(Protocol):
    """An indicator of several values, of many windows that take their next candle together: what `step` gives is what
    the expression gives of windows that hold all it remembers, to the last bit."""

    candles: int
    """How many candles a step looks at."""

    @property
    def expr(self) -> pl.Expr:
        """The indicator as an expression over the frame of windows."""

    def begun(self, windows: int) -> Floats:
        """The state of windows in which nothing has been seen yet, of shape (any, windows)."""

    def step(self, state: Floats, candles: Floats) -> Floats:
        """Take the newest of `candles`, of shape (PRICES, windows, `candles`), finite: `state` is changed. Returns the
        values there, of shape (values, windows)."""

    def column(self, values: Floats) -> pl.Series:
        """Of values of shape (values, rows) what the expression gives."""
