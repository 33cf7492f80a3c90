"""Columns that strategies ask of windows, computed for the rows somebody looks at: the new ones, and a few before each.

When live these are few of many. What sums up begins at its window's first row, always; but a column that only compares
and copies (`bars.looks_back`) has the same value on any rows that reach back as far as it remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from signal_engine.indicators.bars import LooksBack, looks_back
from signal_engine.indicators.indicator import behind
from signal_engine.indicators.recursive import Recursive, Stepwise
from signal_engine.tails import Tails
from signal_engine.window import PRICES


@dataclass(frozen=True, eq=False)
class Column:
    """An expression over windows, the name of its values, and how many candles it remembers, where that counts: because
    it only looks back, or has to be warm."""

    name: str
    expr: pl.Expr
    memory: int

    @property
    def warm(self) -> pl.Expr:
        """Null before it is warm."""
        return pl.when(pl.col("preceding") >= self.memory).then(self.expr).alias(self.name)

    @cached_property
    def looks_back(self) -> bool:
        """See `bars.looks_back`."""
        return looks_back(self.expr)

    @cached_property
    def recursive(self) -> Recursive | None:
        """What it is carried on by, if it can be."""
        found = behind(self.expr)
        return found if isinstance(found, Recursive) else None

    @cached_property
    def stepwise(self) -> Stepwise | None:
        """What it is carried on by together with those of other windows, if it can be."""
        found = behind(self.expr)
        return found if isinstance(found, Stepwise) else None

    @cached_property
    def on_ends(self) -> LooksBack | None:
        """What it is computed by on ends of windows, if it can be."""
        found = behind(self.expr)
        return found if isinstance(found, LooksBack) else None

    @cached_property
    def price(self) -> str | None:
        """The one of PRICES that it is, if it is no more than that."""
        meta = self.expr.meta
        return meta.output_name() if meta.is_column() and meta.output_name() in PRICES else None


class Remembering(NamedTuple):
    """A stepwise column, and how many candles it remembers."""

    by: Stepwise
    memory: int


class Asked(NamedTuple):
    """Columns by how they can be computed of live windows: copied, carried on from candle to candle (each window's on
    its own, or those of many in step), on ends as long as they remember, or on whole windows only."""

    prices: dict[str, str]
    recursive: dict[str, Recursive]
    stepwise: dict[str, Remembering]
    ends: defaultdict[int, dict[str, LooksBack]]
    whole: list[Column]

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Asked:
        asked = cls({}, {}, {}, defaultdict(dict), [])
        for column in columns:
            if column.recursive is not None:
                asked.recursive[column.name] = column.recursive
            elif column.stepwise is not None:
                asked.stepwise[column.name] = Remembering(column.stepwise, column.memory)
            elif column.on_ends is not None:
                asked.ends[column.memory][column.name] = column.on_ends
            elif column.price is not None:
                asked.prices[column.name] = column.price
            else:
                asked.whole.append(column)
        return asked

    @property
    def carried(self) -> tuple[str, ...]:
        """The names of the columns that are carried together."""
        return (*self.recursive, *self.stepwise)

    @property
    def remembered(self) -> int:
        """How many candles the stepwise columns remember."""
        return max((column.memory for column in self.stepwise.values()), default=0)


class Frame(Protocol):
    """Windows, some of whose rows are new."""

    @property
    def numbers(self) -> Iterable[int]:
        """Of the series that have new rows."""

    def near(self, columns: Sequence[Column], look_back: int) -> pl.DataFrame:
        """The new rows and so many before each, as `frames.py` describes them, with these columns."""


class Whole:
    """A `Frame` of which all rows are there."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows

    @property
    def numbers(self) -> Iterable[int]:
        found: list[int] = self._rows["series"].filter(self._rows["new"]).unique().to_list()
        return found

    def near(self, columns: Sequence[Column], look_back: int) -> pl.DataFrame:
        tails, whole, ends = Tails(self._rows), list[Column](), defaultdict[int, list[Column]](list)
        for column in columns:
            (ends[column.memory] if column.looks_back else whole).append(column)
        rows = tails.rows(look_back)
        found = [self._rows[rows], *([computed(self._rows, whole)[rows]] if whole else [])]
        for memory, looking in ends.items():
            reached = tails.rows(look_back + memory)
            found.append(computed(tails.of(reached), looking)[np.searchsorted(reached, rows)])
        return pl.concat(found, how="horizontal")


def computed(frame: pl.DataFrame, columns: Iterable[Column]) -> pl.DataFrame:
    """The columns alone, in any order. Those that know places in windows are ours, and Python inside: they come one
    after the other, because in threads of Polars they would fight for the interpreter."""
    named = [column.expr.alias(column.name) for column in columns]
    ours = [expr for expr in named if "preceding" in expr.meta.root_names()]
    others = [expr for expr in named if not any(expr is one for one in ours)]
    queries = [*([expr] for expr in ours), others]
    return pl.concat([_alone(frame, exprs) for exprs in queries if exprs], how="horizontal")


def _alone(frame: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.with_columns(exprs).select(expr.meta.output_name() for expr in exprs)
