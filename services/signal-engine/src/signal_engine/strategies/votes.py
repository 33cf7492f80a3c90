"""The votes of `confluence`: what each asks of a market, what it weighs, and what it says.

A vote is for a long, for a short, or abstains; one for a short is against a long, and the other way round. Where a
figure of a higher timeframe is not there (a gap, not warm yet) the vote is unknown: null, as all that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Row

JUDGED = "15m"
"""The timeframe whose candles are judged."""

LANDSCAPE = "landscape_3"

TREND = [pl.col("close"), ind.sma(20), ind.sma(50)]

HIGHER = {"1h": [*TREND, ind.rsi(14)], "4h": TREND}
"""What votes look at in higher timeframes: averages that forget soon, as a month has only 180 candles of 4h."""

COLUMNS = [
    *(ind.ema(12), ind.ema(26), ind.sma(100)),
    *(ind.macd_histogram(12, 26, 9), ind.rsi(14)),
    *(ind.highest(55), ind.lowest(55), ind.volume_ratio(20)),
    ind.landscape(3),
]
"""What they look at in the judged one: columns that other strategies have, too."""


@dataclass(frozen=True, slots=True)
class Vote:
    """`points` for the side whose condition holds; `says` gives the figures, of the fired candle's row."""

    topic: str
    timeframe: str
    points: int
    long: pl.Expr
    short: pl.Expr
    says: Callable[[Row], str]

    @property
    def column(self) -> str:
        return f"vote_{self.topic.replace(' ', '_')}_{self.timeframe}"

    @property
    def expr(self) -> pl.Expr:
        """1 for a long, -1 for a short, 0 for neither, null where it is unknown."""
        return (self.long.cast(pl.Int32) - self.short.cast(pl.Int32)).alias(self.column)


def _higher_trend(timeframe: str, points: int) -> Vote:
    close, fast, slow = (f"{name}@{timeframe}" for name in ("close", "sma_20", "sma_50"))

    def says(row: Row) -> str:
        return f"close {row[close]:.6g}, SMA 20 {row[fast]:.6g}, SMA 50 {row[slow]:.6g}"

    return Vote("trend", timeframe, points, _rising(slow, fast, close), _rising(close, fast, slow), says)


def _higher_momentum(timeframe: str, points: int) -> Vote:
    rsi = f"rsi_14@{timeframe}"
    return Vote(
        "momentum", timeframe, points, pl.col(rsi) >= 55, pl.col(rsi) <= 45, lambda row: f"RSI 14 {row[rsi]:.1f}"
    )


def _trend(points: int) -> Vote:
    long = _rising("ema_26", "ema_12") & _rising("sma_100", "close")
    short = _rising("ema_12", "ema_26") & _rising("close", "sma_100")

    def says(row: Row) -> str:
        return f"EMA 12 {row['ema_12']:.6g}, EMA 26 {row['ema_26']:.6g}, SMA 100 {row['sma_100']:.6g}"

    return Vote("trend", JUDGED, points, long, short, says)


def _structure(points: int) -> Vote:
    trend = _field("trend").fill_null(0.0)
    ways = {1: "broke upwards last", -1: "broke downwards last", 0: "did not break"}
    return Vote("structure", JUDGED, points, trend > 0, trend < 0, lambda row: ways[int(row["trend"] or 0)])


def _momentum(points: int) -> Vote:
    histogram, rsi = pl.col("macd_histogram_12_26_9"), pl.col("rsi_14")

    def says(row: Row) -> str:
        return f"MACD histogram {row['macd_histogram_12_26_9']:.3g}, RSI 14 {row['rsi_14']:.1f}"

    long, short = (histogram > 0) & (rsi > 50), (histogram < 0) & (rsi < 50)
    return Vote("momentum", JUDGED, points, long, short, says)


def _breakout(points: int) -> Vote:
    long, short = _rising("highest_55", "close"), _rising("close", "lowest_55")

    def says(row: Row) -> str:
        return f"close {row['close']:.6g}, channel of 55 candles {row['lowest_55']:.6g} to {row['highest_55']:.6g}"

    return Vote("breakout", JUDGED, points, long, short, says)


def _volume(points: int) -> Vote:
    enough = pl.col("volume_ratio_20") >= 1.5

    def says(row: Row) -> str:
        way = "rising" if row["close"] > row["open"] else "falling" if row["close"] < row["open"] else "flat"
        return f"{row['volume_ratio_20']:.1f} times its mean on a {way} candle"

    return Vote("volume", JUDGED, points, enough & _rising("open", "close"), enough & _rising("close", "open"), says)


def _zones(points: int) -> Vote:
    """Who defends the price: order blocks of one side alone."""
    bull, bear = (_field(name).is_not_null() for name in ("bull_block_low", "bear_block_low"))

    def says(row: Row) -> str:
        sides = [name for name in ("bull", "bear") if row[f"{name}_block_low"] is not None]
        return f"{' and '.join(f'{side}ish' for side in sides) or 'no'} order block stands"

    return Vote("smart money", JUDGED, points, bull & ~bear, bear & ~bull, says)


def _rising(*names: str) -> pl.Expr:
    """Each column below the next."""
    return pl.all_horizontal(pl.col(low) < pl.col(high) for low, high in pairwise(names))


def _field(name: str) -> pl.Expr:
    return pl.col(LANDSCAPE).struct.field(name)


FIELDS = [_field(name).alias(name) for name in ("trend", "bull_block_low", "bear_block_low")]
"""What is said of the landscape."""

VOTES = (
    _higher_trend("4h", 18),
    _higher_trend("1h", 14),
    _higher_momentum("1h", 10),
    _trend(11),
    _structure(9),
    _momentum(12),
    _breakout(10),
    _volume(9),
    _zones(7),
)

ALL_POINTS = sum(vote.points for vote in VOTES)
"""100."""
