"""RSI reversion: after an exhausted move, go the other way once the RSI comes back from its extreme."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

EXTREME_CANDLES = 5
"""Among how many candles, this one included, the extreme of the RSI is looked for."""


class RsiReversionParams(Params):
    period: int = Field(default=14, ge=2, le=50, description="Candles of the RSI.")
    oversold: float = Field(default=30, ge=5, le=45, description="Long when the RSI comes back above this.")
    overbought: float = Field(default=70, ge=55, le=95, description="Short when the RSI comes back below this.")
    depth: float = Field(default=5, ge=0, le=30, description="How far beyond the threshold the extreme must have been.")


class RsiReversion(Strategy[RsiReversionParams]):
    """Long when the RSI rises back above `oversold` after a low at least `depth` below it; short mirrored.

    Confidence: 40, plus up to 40 for the depth of the extreme beyond the threshold (full at 20 points), plus up to
    20 for a candle that closes near its own end in the signal's direction.
    """

    name = "rsi_reversion"
    version = "1"
    params_type = RsiReversionParams

    def indicators(self) -> list[pl.Expr]:
        return [ind.rsi(self.params.period)]

    def recent(self) -> list[pl.Expr]:
        lowest = self._rsi.rolling_min(EXTREME_CANDLES).alias("rsi_lowest")
        highest = self._rsi.rolling_max(EXTREME_CANDLES).alias("rsi_highest")
        return [lowest, highest]

    def long(self) -> pl.Expr:
        p = self.params
        return ind.crosses_above(self._rsi, p.oversold) & (pl.col("rsi_lowest") <= p.oversold - p.depth)

    def short(self) -> pl.Expr:
        p = self.params
        return ind.crosses_below(self._rsi, p.overbought) & (pl.col("rsi_highest") >= p.overbought + p.depth)

    def judge(self, row: Row, side: Side) -> Judgement:
        p, rsi = self.params, row[f"rsi_{self.params.period}"]
        spread = row["high"] - row["low"]
        if side == "long":
            threshold, extreme, rejection = p.oversold, row["rsi_lowest"], row["close"] - row["low"]
            turned, was = "back above", "low"
        else:
            threshold, extreme, rejection = p.overbought, row["rsi_highest"], row["high"] - row["close"]
            turned, was = "back below", "high"
        depth, rejection = abs(threshold - extreme), rejection / spread if spread > 0 else 0.0
        return Judgement(
            confidence=confidence((40, ramp(depth, 0, 20)), (20, rejection)),
            reasons=[
                f"RSI {p.period} came {turned} {threshold:g} ({rsi:.1f})",
                f"its {was} of the last {EXTREME_CANDLES} candles was {extreme:.1f}",
                f"the candle closed at {100 * rejection:.0f} % of its range in the signal's direction",
            ],
            features={
                "rsi": rsi,
                "rsi_extreme": extreme,
                "depth": depth,
                "rejection": rejection,
                "atr": row[self.atr_column],
            },
        )

    @property
    def _rsi(self) -> pl.Expr:
        return pl.col(f"rsi_{self.params.period}")
