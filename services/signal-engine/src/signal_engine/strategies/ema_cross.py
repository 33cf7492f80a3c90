"""EMA cross with a trend filter: go with a fast average that crosses a slow one on the right side of the trend."""

from __future__ import annotations

import polars as pl
from pydantic import Field, model_validator

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

VOLUME_PERIOD = 20


class EmaCrossParams(Params):
    fast: int = Field(default=12, ge=2, le=50, description="Candles of the fast EMA.")
    slow: int = Field(default=26, ge=3, le=50, description="Candles of the slow EMA.")
    trend: int = Field(default=100, ge=20, le=200, description="Candles of the SMA that says which way the trend goes.")

    @model_validator(mode="after")
    def _ordered(self) -> EmaCrossParams:
        if not self.fast < self.slow < self.trend:
            raise ValueError(f"fast {self.fast} < slow {self.slow} < trend {self.trend} must hold")
        return self


class EmaCross(Strategy[EmaCrossParams]):
    """Long when the fast EMA crosses above the slow one and the close is above the trend SMA; short mirrored.

    Confidence: 40, plus up to 30 for the close's distance from the trend (full at 4 ATR), plus up to 30 for volume
    (none at its 20-candle mean, full at three times that).
    """

    name = "ema_cross"
    version = "1"
    params_type = EmaCrossParams

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        averages = [ind.ema(p.fast), ind.ema(p.slow), ind.sma(p.trend)]
        return [*averages, ind.volume_ratio(VOLUME_PERIOD)]

    def long(self) -> pl.Expr:
        return ind.crosses_above(self._fast, self._slow) & (pl.col("close") > self._trend)

    def short(self) -> pl.Expr:
        return ind.crosses_below(self._fast, self._slow) & (pl.col("close") < self._trend)

    def judge(self, row: Row, side: Side) -> Judgement:
        p, close, atr = self.params, row["close"], row[self.atr_column]
        fast, slow, trend = row[f"ema_{p.fast}"], row[f"ema_{p.slow}"], row[f"sma_{p.trend}"]
        volume = row[f"volume_ratio_{VOLUME_PERIOD}"]
        distance = abs(close - trend) / atr
        where = "above" if side == "long" else "below"
        return Judgement(
            confidence=confidence((30, ramp(distance, 0, 4)), (30, ramp(volume, 1, 3))),
            reasons=[
                f"EMA {p.fast} ({fast:.6g}) crossed {where} EMA {p.slow} ({slow:.6g})",
                f"close {close:.6g} is {where} SMA {p.trend} ({trend:.6g}) by {distance:.1f} ATR",
                f"volume is {volume:.1f} times its mean",
            ],
            features={
                "ema_fast": fast,
                "ema_slow": slow,
                "sma_trend": trend,
                "atr": atr,
                "trend_distance_atr": distance,
                "volume_ratio": volume,
            },
        )

    @property
    def _fast(self) -> pl.Expr:
        return pl.col(f"ema_{self.params.fast}")

    @property
    def _slow(self) -> pl.Expr:
        return pl.col(f"ema_{self.params.slow}")

    @property
    def _trend(self) -> pl.Expr:
        return pl.col(f"sma_{self.params.trend}")
