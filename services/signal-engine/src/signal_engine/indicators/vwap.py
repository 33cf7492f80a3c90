"""Volume-weighted average prices, in price units."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl

from signal_engine.indicators.bars import Bools, Floats, Ints
from signal_engine.indicators.indicator import CLOSE, HIGH, LOW, VOLUME, indicator
from signal_engine.indicators.recursive import KEPT_VALUES, Opened

OPEN_MS, PRECEDING = pl.col("open_ms"), pl.col("preceding")

THIRD = 1.0 / 3.0
"""Typical prices are multiplied by a third, not divided by three: dividing a column by a number, Polars rounds a single
row otherwise than many."""

TYPICAL = (HIGH + LOW + CLOSE) * THIRD

SESSION_MS = 86_400_000
"""A session is a UTC day: crypto markets never close, and exchanges count their days so."""


class SessionVwap:
    """`vwap_session`. See `Recursive`."""

    columns: tuple[str, ...] = ("high", "low", "close", "volume", "open_ms")

    @property
    def expr(self) -> pl.Expr:
        """Over windows that may hold several sessions."""
        return pl.map_batches([TYPICAL, VOLUME, PRECEDING, OPEN_MS], _since_midnight, return_dtype=pl.Float64)

    def opened(self, *arrays: Floats) -> Opened | None:
        """Adds up the sessions of the last candles, from each one's first that the window has."""
        high, low, close, volume, open_ms = arrays
        began_ms = open_ms[-KEPT_VALUES:][0] // SESSION_MS * SESSION_MS
        first, values = int(np.searchsorted(open_ms, began_ms)), list[Floats]()
        ahead = first > 0
        for rows in _sessions(open_ms, first):
            session = _Session(whole=ahead or open_ms[rows.start] % SESSION_MS == 0)
            values.append(session.all((high[rows] + low[rows] + close[rows]) * THIRD, volume[rows], open_ms[rows]))
            ahead = True
        return session.update, np.concatenate(values)


class _Session:
    """Totals since midnight; `whole` says whether the first candle of the day was seen, as far as there was one."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._day, self._weight, self._value = 0, 0.0, 0.0

    def all(self, price: Floats, weight: Floats, open_ms: Floats) -> Floats:
        """The first candles of the session at once."""
        weights, totals = np.cumsum(weight), np.cumsum(price * weight)
        self._day, self._weight, self._value = int(open_ms[-1]) // SESSION_MS, float(weights[-1]), float(totals[-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._whole & (weights > 0), totals / weights, np.nan)

    def update(self, high: float, low: float, close: float, volume: float, open_ms: int) -> float:
        """The next candle."""
        if open_ms // SESSION_MS != self._day:
            self._whole, self._day, self._weight, self._value = True, open_ms // SESSION_MS, 0.0, 0.0
        self._weight += volume
        self._value += (high + low + close) * THIRD * volume
        return self._value / self._weight if self._whole and self._weight > 0 else np.nan


@indicator(memory=lambda: None)
def vwap_session() -> SessionVwap:
    """Volume-weighted average of typical prices since 00:00 UTC.

    Null while nothing traded, and on a day that began before the window did.
    """
    return SessionVwap()


@indicator(memory=lambda anchor_ms: None)
def vwap_anchored(anchor_ms: int = 0) -> pl.Expr:
    """Volume-weighted average of typical prices since the candle that opened at `anchor_ms` (ms UTC).

    Null before it, while nothing traded, and where the window began after it.
    """
    since = partial(_since_anchor, anchor_ms)
    return pl.map_batches([TYPICAL, VOLUME, PRECEDING, OPEN_MS], since, return_dtype=pl.Float64)


def _sessions(open_ms: Floats, first: int) -> list[slice]:
    """The rows of every session from one row on."""
    bounds = np.flatnonzero(np.diff(open_ms[first:] // SESSION_MS)) + 1 + first
    ends = [*bounds.tolist(), len(open_ms)]
    return list(map(slice, [first, *ends[:-1]], ends))


def _since_midnight(columns: Sequence[pl.Series]) -> pl.Series:
    price, volume, preceding, open_ms = (column.to_numpy() for column in columns)
    begins = preceding == 0
    begins[1:] |= np.diff(open_ms // SESSION_MS) != 0
    starts = np.flatnonzero(begins)
    return _weighted(price, volume, starts, (preceding[starts] > 0) | (open_ms[starts] % SESSION_MS == 0))


def _since_anchor(anchor_ms: int, columns: Sequence[pl.Series]) -> pl.Series:
    price, volume, preceding, open_ms = (column.to_numpy() for column in columns)
    starts = np.flatnonzero(preceding == 0)
    return _weighted(price, np.where(open_ms >= anchor_ms, volume, 0.0), starts, open_ms[starts] <= anchor_ms)


def _weighted(price: Floats, weight: Floats, starts: Ints, valid: Bools) -> pl.Series:
    """Weighted mean since the latest of `starts`, null where that is not valid and while nothing weighs anything."""
    sizes = np.diff(np.append(starts, len(price)))
    stretch = np.repeat(np.arange(len(starts), dtype=np.uint32), sizes)
    parts = pl.DataFrame({"stretch": stretch, "weight": weight, "value": price * weight})
    # A total of its own for each stretch, so that none leaves its rounding to the next.
    totals = parts.select(pl.col("weight", "value").cum_sum().over(pl.col("stretch").set_sorted()))
    total, value = (column.to_numpy() for column in totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pl.Series(np.where(np.repeat(valid, sizes) & (total > 0), value / total, np.nan), nan_to_null=True)
