"""Smart money: in the direction of the structure, go with a price that comes back into a gap and leaves it again."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side


class SmartMoneyParams(Params):
    swing: int = Field(
        default=3, ge=2, le=10, description="Candles on each side of a swing that are below or above it."
    )
    cushion_atr: float = Field(
        default=0.25, ge=0, le=2, description="Distance of the stop beyond the order block, in ATRs."
    )
    stop_atr: float = Field(
        default=4.0, ge=0.5, le=10, description="A stop farther from the entry than this, in ATRs, is no trade."
    )


class SmartMoney(Strategy[SmartMoneyParams]):
    """Long when structure broke upwards last, a bullish order block stands, and the price, having closed inside the
    fair value gap above that block, closes above the gap again; short mirrored.

    The stop lies beyond the order block: a close beyond it ends the block, and the reason for the trade. Confidence:
    40, plus up to 20 each for the gap's height (full at 1 ATR), for the freshness of the block (full up to 10 candles,
    none from 100) and for a block that is near (full where its far side is the entry, none at `stop_atr` from it).
    """

    name = "smart_money"
    version = "1"
    params_type = SmartMoneyParams
    stop_basis: ClassVar[Literal["atr", "structure"]] = "structure"

    def indicators(self) -> list[pl.Expr]:
        return [ind.landscape(self.params.swing)]

    def recent(self) -> list[pl.Expr]:
        return [pl.col(self._column).struct.field(name).alias(name) for name in ind.LANDSCAPE_FIELDS]

    def long(self) -> pl.Expr:
        gap, block = pl.col("bull_gap_high"), pl.col("bull_block_low")
        left = ind.crosses_above(pl.col("close"), gap) & (gap == gap.shift(1))
        above = block < pl.col("bull_gap_low")
        return (pl.col("trend") > 0) & left & above & (pl.col("close") - self.stop("long") <= self._farthest)

    def short(self) -> pl.Expr:
        gap, block = pl.col("bear_gap_low"), pl.col("bear_block_high")
        left = ind.crosses_below(pl.col("close"), gap) & (gap == gap.shift(1))
        below = block > pl.col("bear_gap_high")
        return (pl.col("trend") < 0) & left & below & (self.stop("short") - pl.col("close") <= self._farthest)

    def stop(self, side: Side) -> pl.Expr:
        cushion = self.params.cushion_atr * pl.col(self.atr_column)
        return pl.col("bull_block_low") - cushion if side == "long" else pl.col("bear_block_high") + cushion

    def judge(self, row: Row, side: Side) -> Judgement:
        kind, way = ("bull", "upwards") if side == "long" else ("bear", "downwards")
        low, high, age = (row[f"{kind}_block_{name}"] for name in ("low", "high", "bar"))
        gap_low, gap_high = row[f"{kind}_gap_low"], row[f"{kind}_gap_high"]
        close, atr, far = row["close"], row[self.atr_column], low if side == "long" else high
        height, distance = (gap_high - gap_low) / atr, abs(close - far) / atr
        near = 1 - ramp(distance, 0, self.params.stop_atr)
        return Judgement(
            confidence=confidence((20, ramp(height, 0, 1)), (20, 1 - ramp(age, 10, 100)), (20, near)),
            reasons=[
                f"structure broke {way} last",
                f"close {close:.6g} left the fair value gap of {gap_low:.6g} to {gap_high:.6g} {way}",
                f"the order block of {age:.0f} candles ago ({low:.6g} to {high:.6g}) holds, {distance:.1f} ATR away",
            ],
            features={
                "gap_low": gap_low,
                "gap_high": gap_high,
                "block_low": low,
                "block_high": high,
                "block_age": age,
                "gap_height_atr": height,
                "block_distance_atr": distance,
                "atr": atr,
            },
            invalidation=far,
        )

    @property
    def _column(self) -> str:
        return f"landscape_{self.params.swing}"

    @property
    def _farthest(self) -> pl.Expr:
        return self.params.stop_atr * pl.col(self.atr_column)
