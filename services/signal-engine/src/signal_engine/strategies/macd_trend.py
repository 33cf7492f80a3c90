"""MACD in the trend: buy the end of a dip in a rising market, sell the end of a bounce in a falling one."""

from __future__ import annotations

import polars as pl
from pydantic import Field, model_validator

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side


class MacdTrendParams(Params):
    fast: int = Field(default=12, ge=2, le=50, description="Candles of the MACD's fast EMA.")
    slow: int = Field(default=26, ge=3, le=50, description="Candles of the MACD's slow EMA.")
    signal: int = Field(default=9, ge=2, le=30, description="Candles of the EMA that is the MACD's signal line.")
    trend: int = Field(default=100, ge=20, le=200, description="Candles of the SMA that says which way the trend goes.")
    min_depth_atr: float = Field(
        default=0.1, ge=0, le=5, description="How far on the other side of zero the MACD must be, in ATRs."
    )

    @model_validator(mode="after")
    def _ordered(self) -> MacdTrendParams:
        if not self.fast < self.slow < self.trend:
            raise ValueError(f"fast {self.fast} < slow {self.slow} < trend {self.trend} must hold")
        return self


class MacdTrend(Strategy[MacdTrendParams]):
    """Long when the MACD crosses above its signal line while it is below zero (the market dipped) and the close is
    above the trend SMA (it rises all the same); short mirrored.

    Confidence: 40, plus up to 30 for the depth of the dip, which is how far beyond zero the MACD is (full at 1 ATR),
    plus up to 30 for the close's distance from the trend (full at 4 ATR).
    """

    name = "macd_trend"
    version = "1"
    params_type = MacdTrendParams

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        return [ind.ema(p.fast), ind.ema(p.slow), ind.macd_histogram(p.fast, p.slow, p.signal), ind.sma(p.trend)]

    def long(self) -> pl.Expr:
        dipped = self._macd <= -self.params.min_depth_atr * pl.col(self.atr_column)
        return ind.crosses_above(pl.col(self._histogram), 0.0) & dipped & (pl.col("close") > self._trend)

    def short(self) -> pl.Expr:
        bounced = self._macd >= self.params.min_depth_atr * pl.col(self.atr_column)
        return ind.crosses_below(pl.col(self._histogram), 0.0) & bounced & (pl.col("close") < self._trend)

    def judge(self, row: Row, side: Side) -> Judgement:
        p, close, atr = self.params, row["close"], row[self.atr_column]
        macd, histogram = row[f"ema_{p.fast}"] - row[f"ema_{p.slow}"], row[self._histogram]
        trend = row[f"sma_{p.trend}"]
        depth, distance = abs(macd) / atr, abs(close - trend) / atr
        where, zero = ("above", "below") if side == "long" else ("below", "above")
        return Judgement(
            confidence=confidence((30, ramp(depth, 0, 1)), (30, ramp(distance, 0, 4))),
            reasons=[
                f"MACD {p.fast}/{p.slow} ({macd:.6g}) crossed {where} its signal line ({macd - histogram:.6g})",
                f"it is {zero} zero by {depth:.1f} ATR",
                f"close {close:.6g} is {where} SMA {p.trend} ({trend:.6g}) by {distance:.1f} ATR",
            ],
            features={
                "macd": macd,
                "macd_histogram": histogram,
                "sma_trend": trend,
                "atr": atr,
                "depth_atr": depth,
                "trend_distance_atr": distance,
            },
        )

    @property
    def _macd(self) -> pl.Expr:
        """The MACD is the distance of two EMAs, which other strategies use, too."""
        return pl.col(f"ema_{self.params.fast}") - pl.col(f"ema_{self.params.slow}")

    @property
    def _histogram(self) -> str:
        p = self.params
        return f"macd_histogram_{p.fast}_{p.slow}_{p.signal}"

    @property
    def _trend(self) -> pl.Expr:
        return pl.col(f"sma_{self.params.trend}")
