"""Breadth thrust: go with a breakout while the whole market turns from falling to rising."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

LOWEST, HIGHEST = "breadth_lowest", "breadth_highest"


class BreadthThrustParams(Params):
    period: int = Field(default=10, ge=3, le=50, description="Candles that the market's breadth is of.")
    within: int = Field(default=10, ge=2, le=50, description="Candles in which the market has to turn.")
    weak: float = Field(default=0.2, ge=0, le=0.8, description="Breadth that it comes from, on the other side of 0.")
    strong: float = Field(default=0.23, ge=0.05, le=0.8, description="Breadth that it reaches.")
    channel: int = Field(default=20, ge=5, le=100, description="Candles of the channel that the close has to leave.")


class BreadthThrust(Strategy[BreadthThrustParams]):
    """Long when a candle closes above the channel of its last candles while the market's breadth has risen from `weak`
    below 0 to `strong` above it; short mirrored.

    Breadth is advancing candles less declining ones as a share of both. Martin Zweig's thrust is from 40 % advances to
    61.5 %, within 10 days: the defaults. He bought the market; this buys what leads it.

    Confidence: 40, plus up to 40 for breadth (none at `strong`, full at 0.6), plus up to 20 for the close's distance
    beyond the channel (full at 1 ATR).
    """

    name = "breadth_thrust"
    version = "1"
    params_type = BreadthThrustParams

    def market(self) -> Sequence[pl.Expr]:
        breadth, within = ind.breadth(self.params.period), self.params.within
        lowest = breadth.rolling_min(within).over("window").alias(f"{LOWEST}_{self._periods}")
        highest = breadth.rolling_max(within).over("window").alias(f"{HIGHEST}_{self._periods}")
        return [breadth, lowest, highest]

    def memory(self, expr: pl.Expr) -> int:
        p, column = self.params, expr.meta.output_name()
        return p.period + p.within if column.startswith((LOWEST, HIGHEST)) else super().memory(expr)

    def indicators(self) -> list[pl.Expr]:
        return [ind.highest(self.params.channel), ind.lowest(self.params.channel)]

    def long(self) -> pl.Expr:
        p = self.params
        turned = (pl.col(self._breadth) >= p.strong) & (pl.col(f"{LOWEST}_{self._periods}@market") <= -p.weak)
        return turned & ind.crosses_above(pl.col("close"), pl.col(f"highest_{p.channel}"))

    def short(self) -> pl.Expr:
        p = self.params
        turned = (pl.col(self._breadth) <= -p.strong) & (pl.col(f"{HIGHEST}_{self._periods}@market") >= p.weak)
        return turned & ind.crosses_below(pl.col("close"), pl.col(f"lowest_{p.channel}"))

    def judge(self, row: Row, side: Side) -> Judgement:
        p, atr = self.params, row[self.atr_column]
        edge = row[f"highest_{p.channel}"] if side == "long" else row[f"lowest_{p.channel}"]
        breadth, beyond = row[self._breadth], abs(row["close"] - edge) / atr
        extreme = row[f"{LOWEST if side == 'long' else HIGHEST}_{self._periods}@market"]
        where, what = ("above", "high") if side == "long" else ("below", "low")
        return Judgement(
            confidence=confidence((40, ramp(abs(breadth), p.strong, 0.6)), (20, ramp(beyond, 0, 1))),
            reasons=[
                f"breadth of the market is {breadth:+.2f} over {p.period} candles, after {extreme:+.2f}",
                f"close {row['close']:.6g} is {where} the {what} of {p.channel} candles ({edge:.6g})",
            ],
            features={"breadth": breadth, "breadth_before": extreme, "break_atr": beyond, "atr": atr},
        )

    @property
    def _breadth(self) -> str:
        return f"breadth_{self.params.period}@market"

    @property
    def _periods(self) -> str:
        return f"{self.params.period}_{self.params.within}"
