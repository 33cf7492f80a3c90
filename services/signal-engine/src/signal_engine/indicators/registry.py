"""All indicators there are, and how far back each column remembers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from signal_engine.indicators import (
    averages,
    markets,
    momentum,
    profile,
    structure,
    swings,
    trend,
    volatility,
    volume,
    vwap,
    zones,
)
from signal_engine.indicators.indicator import Indicator
from signal_engine.indicators.landscape import landscape

MODULES = (averages, momentum, volatility, trend, volume, vwap, profile, swings, structure, zones)

INDICATORS: tuple[Indicator[Any], ...] = tuple(
    value for module in MODULES for value in vars(module).values() if isinstance(value, Indicator)
)
"""Those over the candles of one symbol."""

FOR_STRATEGIES: tuple[Indicator[Any], ...] = (
    *(markets.breadth, markets.correlation, markets.beta, markets.divergence),
    landscape,
)
"""Those that need more than that, or give more than a number, and that only strategies can ask for."""

BY_NAME = {indicator.name: indicator for indicator in INDICATORS}

COLUMN = re.compile(r"([a-z_]*[a-z])((?:_\d+(?:\.\d+)?)*)")


def memory_of(column: pl.Expr | str) -> int:
    """How many candles (the current one included) an indicator's column needs until the rest weighs less than 1e-9.

    Takes the column's expression or name (`ema_12`). Raises ValueError where the name is no indicator's, or where the
    indicator has no bounded memory.
    """
    name = column if isinstance(column, str) else column.meta.output_name()
    indicator, periods = _parsed(name, {**BY_NAME, **{one.name: one for one in FOR_STRATEGIES}})
    memory = indicator.memory(*periods)
    if memory is None:
        raise ValueError(f"{name} has no bounded memory: who uses it says how many candles it needs")
    return memory


def by_column(name: str) -> pl.Expr:
    """The indicator's expression behind a column's name (`ema_12`). Raises ValueError, listing what there is."""
    indicator, periods = _parsed(name, BY_NAME)
    try:
        column = indicator(*periods)
    except TypeError:
        column = indicator()
    if column.meta.output_name() != name:
        raise ValueError(f"there is no column {name!r}; it would be {column.meta.output_name()!r}, or other periods")
    return column


def _parsed(name: str, by_name: Mapping[str, Indicator[Any]]) -> tuple[Indicator[Any], list[float]]:
    match = COLUMN.fullmatch(name)
    if match is None or match[1] not in by_name:
        known = ", ".join(sorted(indicator().meta.output_name() for indicator in by_name.values()))
        raise ValueError(f"there is no indicator behind the column {name!r}; there are {known}, and other periods")
    return by_name[match[1]], [float(text) if "." in text else int(text) for text in match[2].split("_")[1:]]
