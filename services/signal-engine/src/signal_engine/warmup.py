"""Does a strategy warm up for long enough?

It does when none of its columns drifts (`drift.py`) by more than WEIGHT on the earliest candle that it may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from signal_engine.drift import History
from signal_engine.indicators import INDICATORS, memory_of
from signal_engine.indicators.indicator import WEIGHT
from signal_engine.prepared import Prepared
from signal_engine.strategies import LOOK_BACK_CANDLES, AnyStrategy
from signal_engine.window import PRICES

SEEN = tuple(2**power for power in range(4, 11))
"""The numbers of candles an indicator is tried with, up to its memory."""

Progress = Callable[[int, int], None]
"""Told how many columns or strategies of how many have been measured."""


@dataclass(frozen=True, slots=True)
class Drifts:
    """Of one indicator: its drift by how many candles it saw, this one included; infinite where a value is there on
    one side only, None where no market has twice as many candles. `memory` None: it has no bounded memory."""

    memory: int | None
    seen: Mapping[int, float | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one strategy: the drift of each column on the earliest candle it may read, None where the candles are too few
    to say; which columns have no memory but what the strategy says (`stated`); and the timeframes looked at. Columns of
    the market, and those that read them, are not among them: they sum nothing up for longer than their memory."""

    warm_up_candles: int
    drifts: Mapping[str, float | None]
    stated: Sequence[str]
    timeframes: Sequence[str]

    @property
    def measured(self) -> bool:
        return bool(self.timeframes) and None not in self.drifts.values()

    @property
    def worst(self) -> tuple[str, float]:
        """The column that drifts most, and how far."""
        return max(((name, drift or 0.0) for name, drift in self.drifts.items()), key=lambda pair: pair[1])

    @property
    def suffices(self) -> bool:
        return self.measured and self.worst[1] <= WEIGHT


def measure_indicators(candles: pl.DataFrame, *, progress: Progress = lambda done, total: None) -> Mapping[str, Drifts]:
    """The drifts of every indicator with its default periods, by column, over all timeframes of the candles.

    They are measured for SEEN up to the indicator's memory, and for its memory. Columns: see `history.signals_of`.
    """
    histories, measured = list(_histories(candles).values()), {}
    for done, indicator in enumerate(INDICATORS, 1):
        column = indicator()
        memory = _memory(column.meta.output_name())
        seen = SEEN if memory is None else [*(n for n in SEEN if n < memory), memory]
        measured[column.meta.output_name()] = Drifts(memory, _largest(histories, column, seen))
        progress(done, len(INDICATORS))
    return measured


def check_warm_up(
    strategies: Sequence[AnyStrategy], candles: pl.DataFrame, *, progress: Progress = lambda done, total: None
) -> Mapping[str, Verdict]:
    """A verdict for each strategy that judges a timeframe of the candles, by instance. Its columns are measured on
    those of them that have enough candles, columns of higher timeframes on all there are."""
    histories, verdicts = _histories(candles), {}
    for done, strategy in enumerate(strategies, 1):
        one = Prepared(strategy)
        if any(map(one.judges, histories)):
            verdicts[strategy.instance] = _verdict(one, histories)
        progress(done, len(strategies))
    return verdicts


def _verdict(one: Prepared, histories: Mapping[str, History]) -> Verdict:
    # Conditions may read a column LOOK_BACK_CANDLES before the candle that has `warm_up_candles` before it.
    seen = one.warm_up_candles + 1 - LOOK_BACK_CANDLES
    judged = {name: history for name, history in histories.items() if one.judges(name) and history.reaches(seen)}
    alone = [column for column in one.columns if not any("@" in name for name in column.expr.meta.root_names())]
    drifts = {column.name: _largest(judged.values(), column.expr, [seen])[seen] for column in alone}
    for timeframe, columns in one.strategy.higher().items():
        for expr in columns:
            visible = one.strategy.memory(expr) + 1  # see `Prepared.higher`
            name = f"{expr.meta.output_name()}@{timeframe}"
            drifts[name] = _largest(histories.values(), expr, [visible])[visible]
    stated = [name for name in drifts if (base := name.partition("@")[0]) not in PRICES and _memory(base) is None]
    return Verdict(one.warm_up_candles, drifts, stated, list(judged))


def _memory(column: str) -> int | None:
    """Candles an indicator's column remembers; None where that is not bounded, or it is no indicator's."""
    try:
        return memory_of(column)
    except ValueError:
        return None


def _largest(histories: Iterable[History], column: pl.Expr, seen: Sequence[int]) -> Mapping[int, float | None]:
    """The largest drift over several timeframes by number of candles; None where none has enough of them."""
    found = [history.drifts(column, seen) for history in histories]
    return {n: max((d for of_one in found if (d := of_one[n]) is not None), default=None) for n in seen}


def _histories(candles: pl.DataFrame) -> Mapping[str, History]:
    parts = candles.partition_by("timeframe", as_dict=True, maintain_order=True)
    return {str(timeframe): History(rows) for (timeframe,), rows in parts.items()}
