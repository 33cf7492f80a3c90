"""Indicators of every closed candle, published for rules that look at them.

They are computed on frames of their own, whose warm-up follows from these columns alone: which ones are asked for
never changes a signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from signal_engine.frames import blank
from signal_engine.indicators.registry import by_column, memory_of
from signal_engine.prepared import MAX_WARM_UP_CANDLES, in_blocks
from signal_engine.window import Series
from tocsin_common.events import IndicatorsComputed


class Readings:
    """Computes some columns. Raises ValueError for one that is no indicator's, or cannot be computed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._columns = [_warm(name) for name in names]
        self.warm_up_candles = in_blocks(max(memory_of(name) for name in names))

    def of(self, frames: Iterable[pl.DataFrame], series: Sequence[Series]) -> list[IndicatorsComputed]:
        """The readings of the new rows of frames (see `frames.py`), by instrument, timeframe and time."""
        names = [column.meta.output_name() for column in self._columns]
        found = (frame.with_columns(self._columns).filter("new") for frame in frames)
        events = (
            event for rows in found for event in self._events(rows.select("series", "open_ms", "close", *names), series)
        )
        return sorted(events, key=_order)

    def _events(self, rows: pl.DataFrame, series: Sequence[Series]) -> Iterator[IndicatorsComputed]:
        for row in rows.iter_rows(named=True):
            number, open_ms, close = (row.pop(name) for name in ("series", "open_ms", "close"))
            values = {name: value for name, value in row.items() if value is not None and math.isfinite(value)}
            if values:
                yield IndicatorsComputed(**series[number]._asdict(), open_ms=open_ms, close=close, values=values)


def _warm(name: str) -> pl.Expr:
    column, memory = by_column(name), memory_of(name)
    if memory > MAX_WARM_UP_CANDLES:
        raise ValueError(f"{name} needs {memory} candles to warm up, {MAX_WARM_UP_CANDLES} at most are kept")
    try:
        blank().with_columns(column)
    except Exception as error:  # TA-Lib's own bounds on periods show only when it runs
        raise ValueError(f"{name} cannot be computed: {error}") from error
    return pl.when(pl.col("preceding") >= memory).then(column.cast(pl.Float64)).alias(name)


def _order(event: IndicatorsComputed) -> tuple[str, str, str, int]:
    return (event.exchange, event.symbol, event.timeframe, event.open_ms)
