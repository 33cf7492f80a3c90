"""SuperTrend: go with the trend when it turns, and be wrong where it would turn back."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

VOLUME_PERIOD = 20

PATH_CANDLES = 128
"""A SuperTrend is a path: two windows agree once it has turned in both, and no number of candles makes that certain.
It turns every 20 to 40 candles, so within these it has done so a few times: of the 1.1 million candles of
docs/signals.md none has another value than on a path since the beginning."""


class SupertrendParams(Params):
    period: int = Field(default=10, ge=5, le=50, description="Candles of the SuperTrend's average true range.")
    multiple: float = Field(default=3.0, ge=1, le=10, description="Distance of its line from the candle, in ATRs.")
    trend: int = Field(default=100, ge=20, le=200, description="Candles of the SMA that says which way the trend goes.")
    min_volume_ratio: float = Field(
        default=1.0, ge=0, le=10, description="Least volume of the candle, in 20-candle means."
    )
    stop_atr: float = Field(
        default=4.0, ge=0.5, le=10, description="Farthest distance from entry to stop, in ATRs; this is 1 R."
    )


class Supertrend(Strategy[SupertrendParams]):
    """Long when the SuperTrend turns upwards on volume and the close is above the trend SMA; short mirrored.

    The stop is the SuperTrend's line, at most `stop_atr` away. Confidence: 40, plus up to 30 for volume (none at its
    20-candle mean, full at three times that), plus up to 30 for the close's distance from the trend SMA (full at 4
    ATR).
    """

    name = "supertrend"
    version = "1"
    params_type = SupertrendParams

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        return [ind.supertrend(p.period, p.multiple), ind.sma(p.trend), ind.volume_ratio(VOLUME_PERIOD)]

    def memory(self, expr: pl.Expr) -> int:
        """The line needs its average true range, and then a few turns (see PATH_CANDLES)."""
        if expr.meta.output_name() == self._line:
            return ind.memory_of(ind.atr(self.params.period)) + PATH_CANDLES
        return super().memory(expr)

    def long(self) -> pl.Expr:
        turned = ind.crosses_above(pl.col("close"), pl.col(self._line))
        return turned & (pl.col("close") > self._trend) & self._enough_volume

    def short(self) -> pl.Expr:
        turned = ind.crosses_below(pl.col("close"), pl.col(self._line))
        return turned & (pl.col("close") < self._trend) & self._enough_volume

    def stop(self, side: Side) -> pl.Expr:
        nearest = pl.max_horizontal if side == "long" else pl.min_horizontal
        return nearest(pl.col(self._line), super().stop(side))

    def judge(self, row: Row, side: Side) -> Judgement:
        p, close, atr = self.params, row["close"], row[self.atr_column]
        line, trend, volume = row[self._line], row[f"sma_{p.trend}"], row[f"volume_ratio_{VOLUME_PERIOD}"]
        distance = abs(close - trend) / atr
        where, turned = ("above", "upwards") if side == "long" else ("below", "downwards")
        return Judgement(
            confidence=confidence((30, ramp(volume, 1, 3)), (30, ramp(distance, 0, 4))),
            reasons=[
                f"SuperTrend {p.period}/{p.multiple:g} turned {turned}, its line is {line:.6g} now",
                f"close {close:.6g} is {where} SMA {p.trend} ({trend:.6g}) by {distance:.1f} ATR",
                f"volume is {volume:.1f} times its mean",
            ],
            features={
                "supertrend": line,
                "sma_trend": trend,
                "atr": atr,
                "trend_distance_atr": distance,
                "volume_ratio": volume,
            },
        )

    @property
    def _line(self) -> str:
        return f"supertrend_{self.params.period}_{self.params.multiple:g}"

    @property
    def _trend(self) -> pl.Expr:
        return pl.col(f"sma_{self.params.trend}")

    @property
    def _enough_volume(self) -> pl.Expr:
        return pl.col(f"volume_ratio_{VOLUME_PERIOD}") >= self.params.min_volume_ratio
