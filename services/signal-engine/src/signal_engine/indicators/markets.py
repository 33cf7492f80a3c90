"""Markets together: how many of them rise, and how one moves with the reference of all.

`breadth` runs over the candles of the market (`Strategy.market`). The others stand beside the candles of one symbol and
read the reference's close, which `Strategy.market` has to ask for: `close@market`. They look at changes of prices from
candle to candle and not at returns: over so few candles both say the same, and a market upside down gives the opposite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.indicators.bars import BESIDE, Floats, Ints, mean_of_last
from signal_engine.indicators.indicator import indicator, talib

UNRELATED = 1e-9
"""What of a symbol's variance the reference must leave unexplained; the reference itself leaves nothing."""


class Beside(NamedTuple):
    """A symbol's closes and the reference's, each of shape (rows,); `preceding` as in `Bars`."""

    close: Floats
    reference: Floats
    preceding: Ints


class Moments(NamedTuple):
    """Variances of changes, the symbol's and the reference's, and their covariance; NaN where there are none."""

    own: Floats
    reference: Floats
    both: Floats

    @property
    def beta(self) -> Floats:
        """How far the symbol moves when the reference moves by 1, in the symbol's price."""
        return _ratio(self.both, self.reference)

    @property
    def correlation(self) -> Floats:
        """-1..1."""
        return _ratio(self.both, np.sqrt(self.own * self.reference))


@indicator(memory=lambda period: period)
def breadth(period: int = 10) -> pl.Expr:
    """Advancing candles less declining ones as a share of both, over `period` candles of the whole market: -1..1.

    Martin Zweig's advances / (advances + declines), Winning on Wall Street (1986), is (1 + breadth) / 2. The sums are
    of whole numbers, so their order changes nothing.
    """
    rises, falls = (pl.col(name).rolling_sum(period) for name in ("advancers", "decliners"))
    return talib((rises - falls) / (rises + falls))


@indicator(memory=lambda period: period + 1)
def correlation(period: int = 100) -> pl.Expr:
    """Pearson's correlation of the last `period` changes of the close with those of the reference: -1..1."""
    return _beside(lambda rows: _moments(rows, period).correlation)


@indicator(memory=lambda period: period + 1)
def beta(period: int = 100) -> pl.Expr:
    """The slope of the last `period` changes of the close over those of the reference, in prices of both."""
    return _beside(lambda rows: _moments(rows, period).beta)


@indicator(memory=lambda period, span: period + span + 1)
def divergence(period: int = 100, span: int = 10) -> pl.Expr:
    """How far the close went in `span` candles beyond what the reference's way times `beta` accounts for.

    In standard deviations of what `beta` leaves unexplained of one candle, times the root of `span`: as if candles were
    independent of each other. Beta and deviation are of the `period` candles before these.
    """
    return _beside(lambda rows: _divergence(rows, period, span))


def _beside(compute: Callable[[Beside], Floats]) -> pl.Expr:
    def evaluate(columns: Sequence[pl.Series]) -> pl.Series:
        close, reference, preceding = (column.to_numpy() for column in columns)
        return pl.Series(compute(Beside(close, reference, preceding.astype(np.int64))), nan_to_null=True)

    return pl.map_batches(list(BESIDE), evaluate, return_dtype=pl.Float64)


def _moments(rows: Beside, period: int) -> Moments:
    """Of the last `period` changes."""
    own, reference = _way(rows.close, 1), _way(rows.reference, 1)

    def mean(values: Floats) -> Floats:
        return np.where(rows.preceding >= period, mean_of_last(rows, values, period), np.nan)

    own_mean, reference_mean = mean(own), mean(reference)
    return Moments(
        np.maximum(mean(own * own) - own_mean * own_mean, 0),
        np.maximum(mean(reference * reference) - reference_mean * reference_mean, 0),
        mean(own * reference) - own_mean * reference_mean,
    )


def _divergence(rows: Beside, period: int, span: int) -> Floats:
    before = Moments(*(_earlier(values, span) for values in _moments(rows, period)))
    beyond = _way(rows.close, span) - before.beta * _way(rows.reference, span)
    unexplained = 1 - before.correlation**2
    unexplained[unexplained < UNRELATED] = np.nan
    found = _ratio(beyond, np.sqrt(before.own * unexplained * span))
    return np.where(rows.preceding >= period + span, found, np.nan)


def _way(values: Floats, candles: int) -> Floats:
    """From so many rows before to each row; the first ones are of another window, and never used."""
    return values - _earlier(values, candles)


def _earlier(values: Floats, candles: int) -> Floats:
    return np.roll(values, candles)


def _ratio(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return found
