"""All indicators there are, and how far back each column remembers."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from signal_engine.indicators import averages, momentum, profile, structure, swings, trend, volatility, volume, zones
from signal_engine.indicators.indicator import Indicator

MODULES = (averages, momentum, volatility, trend, volume, profile, swings, structure, zones)

INDICATORS: tuple[Indicator[Any], ...] = tuple(
    value for module in MODULES for value in vars(module).values() if isinstance(value, Indicator)
)

BY_NAME = {indicator.name: indicator for indicator in INDICATORS}

COLUMN = re.compile(r"([a-z_]*[a-z])((?:_\d+(?:\.\d+)?)*)")


def memory_of(column: pl.Expr | str) -> int:
    """How many candles (the current one included) an indicator's column needs until the rest weighs less than 1e-9.

    Takes the column's expression or name (`ema_12`). Raises ValueError where the name is no indicator's, or where the
    indicator has no bounded memory.
    """
    name = column if isinstance(column, str) else column.meta.output_name()
    indicator, periods = _parsed(name)
    memory = indicator.memory(*periods)
    if memory is None:
        raise ValueError(f"{name} has no bounded memory: who uses it says how many candles it needs")
    return memory


def by_column(name: str) -> pl.Expr:
    """The indicator's expression behind a column's name (`ema_12`). Raises ValueError, listing what there is."""
    indicator, periods = _parsed(name)
    try:
        column = indicator(*periods)
    except TypeError:
        column = indicator()
    if column.meta.output_name() != name:
        raise ValueError(f"there is no column {name!r}; it would be {column.meta.output_name()!r}, or other periods")
    return column


def _parsed(name: str) -> tuple[Indicator[Any], list[float]]:
    match = COLUMN.fullmatch(name)
    if match is None or match[1] not in BY_NAME:
        known = ", ".join(sorted(indicator().meta.output_name() for indicator in INDICATORS))
        raise ValueError(f"there is no indicator behind the column {name!r}; there are {known}, and other periods")
    return BY_NAME[match[1]], [float(text) if "." in text else int(text) for text in match[2].split("_")[1:]]
