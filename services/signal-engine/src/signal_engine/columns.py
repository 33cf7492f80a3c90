"""Columns that strategies ask of windows, computed for the rows somebody looks at: the new ones, and a few before each.

When live these are few of many. What sums up begins at its window's first row, always; but a column that only compares
and copies (`bars.looks_back`) has the same value on any rows that reach back as far as it remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.indicators.bars import looks_back
from signal_engine.tails import Tails


class Column(NamedTuple):
    """An expression over windows, the name of its values, and how many candles it remembers, where that counts: because
    it only looks back, or has to be warm."""

    name: str
    expr: pl.Expr
    memory: int

    @property
    def warm(self) -> pl.Expr:
        """Null before it is warm."""
        return pl.when(pl.col("preceding") >= self.memory).then(self.expr).alias(self.name)


def near(frame: pl.DataFrame, columns: Iterable[Column], look_back: int) -> pl.DataFrame:
    """The new rows of a frame (see `frames.py`) and so many before each, with these columns."""
    tails, whole, ends = Tails(frame), list[Column](), defaultdict[int, list[Column]](list)
    for column in columns:
        (ends[column.memory] if looks_back(column.expr) else whole).append(column)
    rows = tails.rows(look_back)
    found = [frame[rows], *([_computed(frame, whole)[rows]] if whole else [])]
    for memory, looking in ends.items():
        reached = tails.rows(look_back + memory)
        found.append(_computed(tails.of(reached), looking)[np.searchsorted(reached, rows)])
    return pl.concat(found, how="horizontal")


def _computed(frame: pl.DataFrame, columns: Iterable[Column]) -> pl.DataFrame:
    """The columns alone, in any order. Those that know places in windows are ours, and Python inside: they come one
    after the other, because in threads of Polars they would fight for the interpreter."""
    named = [column.expr.alias(column.name) for column in columns]
    ours = [expr for expr in named if "preceding" in expr.meta.root_names()]
    others = [expr for expr in named if not any(expr is one for one in ours)]
    queries = [*([expr] for expr in ours), others]
    return pl.concat([_alone(frame, exprs) for exprs in queries if exprs], how="horizontal")


def _alone(frame: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.with_columns(exprs).select(expr.meta.output_name() for expr in exprs)
