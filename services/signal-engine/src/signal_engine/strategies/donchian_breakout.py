"""Donchian breakout: go with the first close beyond the highest high or lowest low of the last candles."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

VOLUME_PERIOD = 20


class DonchianBreakoutParams(Params):
    channel: int = Field(default=55, ge=5, le=200, description="Candles of the channel, the breaking one not counted.")
    min_volume_ratio: float = Field(
        default=1.5, ge=0, le=10, description="Least volume of the candle, in 20-candle means."
    )
    min_break_atr: float = Field(
        default=0.25, ge=0, le=5, description="Least distance of the close beyond the channel, in ATRs."
    )


class DonchianBreakout(Strategy[DonchianBreakoutParams]):
    """Long when a candle closes above the channel on volume and the close before did not; short mirrored.

    Confidence: 40, plus up to 30 for the close's distance beyond the channel (full at 1 ATR), plus up to 30 for
    volume (none at its 20-candle mean, full at four times that).
    """

    name = "donchian_breakout"
    version = "1"
    params_type = DonchianBreakoutParams

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        channel = [ind.highest(p.channel), ind.lowest(p.channel)]
        return [*channel, ind.volume_ratio(VOLUME_PERIOD)]

    def long(self) -> pl.Expr:
        upper = pl.col(f"highest_{self.params.channel}")
        return (
            ind.crosses_above(pl.col("close"), upper)
            & (pl.col("close") >= upper + self._least_break)
            & self._enough_volume
        )

    def short(self) -> pl.Expr:
        lower = pl.col(f"lowest_{self.params.channel}")
        return (
            ind.crosses_below(pl.col("close"), lower)
            & (pl.col("close") <= lower - self._least_break)
            & self._enough_volume
        )

    def judge(self, row: Row, side: Side) -> Judgement:
        p, close, atr = self.params, row["close"], row[self.atr_column]
        edge = row[f"highest_{p.channel}"] if side == "long" else row[f"lowest_{p.channel}"]
        beyond, volume = abs(close - edge) / atr, row[f"volume_ratio_{VOLUME_PERIOD}"]
        where, what = ("above", "high") if side == "long" else ("below", "low")
        return Judgement(
            confidence=confidence((30, ramp(beyond, 0, 1)), (30, ramp(volume, 1, 4))),
            reasons=[
                f"close {close:.6g} is {where} the {what} of {p.channel} candles ({edge:.6g}) by {beyond:.1f} ATR",
                f"volume is {volume:.1f} times its mean",
            ],
            features={"channel_edge": edge, "break_atr": beyond, "atr": atr, "volume_ratio": volume},
        )

    @property
    def _least_break(self) -> pl.Expr:
        return self.params.min_break_atr * pl.col(self.atr_column)

    @property
    def _enough_volume(self) -> pl.Expr:
        return pl.col(f"volume_ratio_{VOLUME_PERIOD}") >= self.params.min_volume_ratio
