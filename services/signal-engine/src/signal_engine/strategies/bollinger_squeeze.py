"""Bollinger squeeze: after a calm in which the bands drew together, go with the close that leaves them."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import LOOK_BACK_CANDLES, Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

VOLUME_PERIOD = 20


class BollingerSqueezeParams(Params):
    period: int = Field(default=20, ge=5, le=100, description="Candles of the Bollinger bands.")
    deviations: float = Field(default=2.0, ge=1, le=4, description="Standard deviations from the middle to a band.")
    squeeze_atr: float = Field(
        default=1.5, ge=0.2, le=5, description="The bands are squeezed while each is nearer than this to their middle."
    )
    min_volume_ratio: float = Field(
        default=1.5, ge=0, le=10, description="Least volume of the candle, in 20-candle means."
    )


class BollingerSqueeze(Strategy[BollingerSqueezeParams]):
    """Long when a candle closes above the upper band on volume, after five candles that were all squeezed; short
    mirrored.

    Squeezed: half the width of the bands is below `squeeze_atr` average true ranges, so they would lie inside a Keltner
    channel (John Carter, Mastering the Trade, 2005). Confidence: 40, plus up to 30 for the tightness of the squeeze
    (none at `squeeze_atr`, full at half of it), plus up to 30 for volume (none at its 20-candle mean, full at four
    times that).
    """

    name = "bollinger_squeeze"
    version = "1"
    params_type = BollingerSqueezeParams

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        return [ind.sma(p.period), ind.bollinger_width(p.period, p.deviations), ind.volume_ratio(VOLUME_PERIOD)]

    def recent(self) -> list[pl.Expr]:
        widest = self._half_width.shift(1).rolling_max(LOOK_BACK_CANDLES).alias("squeeze_widest")
        return [widest, pl.col(self.atr_column).shift(1).alias("squeeze_atr")]

    def long(self) -> pl.Expr:
        left = ind.crosses_above(pl.col("close"), self._middle + self._half_width)
        return left & self._squeezed & self._enough_volume

    def short(self) -> pl.Expr:
        left = ind.crosses_below(pl.col("close"), self._middle - self._half_width)
        return left & self._squeezed & self._enough_volume

    def judge(self, row: Row, side: Side) -> Judgement:
        p, middle = self.params, row[f"sma_{self.params.period}"]
        half_width = 0.5 * middle * row[self._width]
        band = middle + half_width if side == "long" else middle - half_width
        where = "above the upper" if side == "long" else "below the lower"
        calm, volume = row["squeeze_atr"], row[f"volume_ratio_{VOLUME_PERIOD}"]
        width = row["squeeze_widest"] / calm if calm > 0 else 0.0
        return Judgement(
            confidence=confidence((30, 1 - ramp(width, p.squeeze_atr / 2, p.squeeze_atr)), (30, ramp(volume, 1, 4))),
            reasons=[
                f"close {row['close']:.6g} is {where} Bollinger band ({band:.6g})",
                f"the bands were within {width:.1f} ATR of their middle for {LOOK_BACK_CANDLES} candles",
                f"volume is {volume:.1f} times its mean",
            ],
            features={
                "band": band,
                "band_middle": middle,
                "squeeze_width_atr": width,
                "atr": row[self.atr_column],
                "volume_ratio": volume,
            },
        )

    @property
    def _squeezed(self) -> pl.Expr:
        return pl.col("squeeze_widest") <= self.params.squeeze_atr * pl.col("squeeze_atr")

    @property
    def _enough_volume(self) -> pl.Expr:
        return pl.col(f"volume_ratio_{VOLUME_PERIOD}") >= self.params.min_volume_ratio

    @property
    def _middle(self) -> pl.Expr:
        return pl.col(f"sma_{self.params.period}")

    @property
    def _half_width(self) -> pl.Expr:
        """Distance of each band from the middle, in price units."""
        return 0.5 * self._middle * pl.col(self._width)

    @property
    def _width(self) -> str:
        return f"bollinger_width_{self.params.period}_{self.params.deviations:g}"
