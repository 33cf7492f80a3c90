"""A strategy made ready: its expressions built once, and how many candles they need."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl

from signal_engine.columns import Column
from signal_engine.indicators.bars import looks_back
from signal_engine.strategies import AnyStrategy
from signal_engine.window import BLOCK_CANDLES, PRICES
from tocsin_trading.timeframes import TIMEFRAME_MS

MAX_WARM_UP_CANDLES = 8_192
"""What a strategy may ask for: an EMA of 790, a Wilder average of 395. A series then takes 0.4 MB."""

OF_EVERY_ROW = (*PRICES, "series", "window", "open_ms", "new", "preceding")

RESERVED = frozenset({*OF_EVERY_ROW, "long", "short", "stop"})
"""Column names that are taken."""


class Prepared:
    """Expressions of one strategy. Raises ValueError, in a sentence, when they cannot be had.

    `sees` are the columns it may read of a row: what it asked for, and what every row has.
    `columns` run over the windows, `higher` over those of a higher timeframe and `market` over those of the whole
    market (each null before it is warm), `recent` and `conditions` (long, short, stop_long, stop_short) over the rows
    that may fire.
    """

    def __init__(self, strategy: AnyStrategy) -> None:
        self.strategy = strategy
        try:
            self.columns = [
                Column(expr.meta.output_name(), expr, strategy.memory(expr) if looks_back(expr) else 0)
                for expr in strategy.columns()
            ]
            self.higher = {frame: self._asked(asked, frame) for frame, asked in strategy.higher().items()}
            self.market = self._asked(strategy.market(), "market")
            self.recent = strategy.recent()
            self.conditions = [
                strategy.long().fill_null(value=False).alias("long"),
                strategy.short().fill_null(value=False).alias("short"),
                strategy.stop("long").alias("stop_long"),
                strategy.stop("short").alias("stop_short"),
            ]
            asked = [*self.columns, *self.market, *(column for columns in self.higher.values() for column in columns)]
            self.sees = [*OF_EVERY_ROW, *dict.fromkeys(column.name for column in asked if column.name not in PRICES)]
            self.warm_up_candles = strategy.warm_up_candles
            self.memory = max([self.warm_up_candles, *self._higher_memory()])
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{strategy.instance} cannot be used: {_line(strategy, error)}{what}") from error
        self._check()

    def judges(self, timeframe: str) -> bool:
        """Whether candles of this timeframe are evaluated."""
        return not self.strategy.timeframes or timeframe in self.strategy.timeframes

    def above(self, timeframe: str) -> list[str]:
        """The higher timeframes that candles of this one look at."""
        if not self.judges(timeframe):
            return []
        return [higher for higher in self.higher if TIMEFRAME_MS[higher] > TIMEFRAME_MS[timeframe]]

    def _asked(self, exprs: Iterable[pl.Expr], where: str) -> list[Column]:
        """Columns of other candles than those judged."""
        return [Column(f"{expr.meta.output_name()}@{where}", expr, self.strategy.memory(expr)) for expr in exprs]

    def _higher_memory(self) -> list[int]:
        return [column.memory for asked in self.higher.values() for column in asked]

    def _check(self) -> None:
        name = self.strategy.instance
        unknown = sorted({*self.strategy.timeframes, *self.higher} - TIMEFRAME_MS.keys())
        if unknown:
            raise ValueError(f"{name} asks for timeframes that nobody makes: {', '.join(unknown)}")
        named = {*(column.name for column in self.columns), *(expr.meta.output_name() for expr in self.recent)}
        taken = sorted(RESERVED & named)
        if taken:
            raise ValueError(f"{name} names columns like those of every market: {', '.join(taken)}")
        read = {
            root for expr in (*_of_windows(self), *self.recent, *self.conditions) for root in expr.meta.root_names()
        }
        missing = sorted({root for root in read if root.endswith("@market")} - {column.name for column in self.market})
        if missing:
            raise ValueError(f"{name} reads {', '.join(missing)}, which its market() does not name")
        if self.memory > MAX_WARM_UP_CANDLES:
            raise ValueError(f"{name} needs {self.memory} candles to warm up, {MAX_WARM_UP_CANDLES} at most are kept")


def _line(strategy: AnyStrategy, error: BaseException) -> str:
    """Where in the strategy's own file it happened, in words; empty where the error did not pass there."""
    file = getattr(sys.modules[type(strategy).__module__], "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}, line {lines[-1]}: " if lines else ""


def prepare(strategies: Sequence[AnyStrategy]) -> list[Prepared]:
    """All of them. Raises ValueError when one cannot be used, or two mean different things by one column's name."""
    prepared = [Prepared(strategy) for strategy in strategies]
    for columns_of in (_of_windows, _of_higher_windows, _of_market):
        known: dict[str, tuple[pl.Expr, Prepared]] = {}
        for one in prepared:
            for expr in columns_of(one):
                name = expr.meta.output_name()
                other, owner = known.setdefault(name, (expr, one))
                if not other.meta.eq(expr):
                    names = f"{owner.strategy.instance} and {one.strategy.instance}"
                    raise ValueError(f"{names} mean different things by the column {name!r}: rename one")
    return prepared


def warm_up_of(prepared: Iterable[Prepared]) -> int:
    """Candles a window holds before its block: the longest memory there is, in whole blocks.

    So most changes of one strategy leave the others' values as they are, to the last digit.
    """
    return in_blocks(max(one.memory for one in prepared))


def in_blocks(candles: int) -> int:
    """As many candles or a few more, in whole blocks."""
    return -(-candles // BLOCK_CANDLES) * BLOCK_CANDLES


def higher_of(prepared: Iterable[Prepared], timeframes: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """By timeframe: the higher ones its candles look at, where there are any."""
    ready = list(prepared)
    found = {timeframe: frozenset(h for one in ready for h in one.above(timeframe)) for timeframe in timeframes}
    return {timeframe: above for timeframe, above in found.items() if above}


def once(prepared: Iterable[Prepared], columns_of: Callable[[Prepared], Iterable[Column]]) -> list[Column]:
    """Every column once, by its name, with the longest memory that anybody says it has."""
    asked = sorted((column for one in prepared for column in columns_of(one)), key=lambda column: column.memory)
    return list({column.name: column for column in asked}.values())


def _of_windows(one: Prepared) -> list[pl.Expr]:
    return [column.expr for column in one.columns]


def _of_higher_windows(one: Prepared) -> list[pl.Expr]:
    return [column.warm for columns in one.higher.values() for column in columns]


def _of_market(one: Prepared) -> list[pl.Expr]:
    return [column.warm for column in one.market]
