"""BTC divergence: what moves with bitcoin and has fallen behind it catches up."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side

FULL_CORRELATION = 0.95


class BtcDivergenceParams(Params):
    period: int = Field(default=100, ge=30, le=300, description="Candles of the correlation with bitcoin.")
    span: int = Field(default=10, ge=2, le=50, description="Candles in which the price has gone another way.")
    min_correlation: float = Field(default=0.6, ge=0, le=0.9, description="Least correlation with bitcoin.")
    apart: float = Field(default=2.0, ge=0.5, le=5, description="Deviations that the price has to be off its way.")


class BtcDivergence(Strategy[BtcDivergenceParams]):
    """Long when a symbol that moves with bitcoin has fallen `apart` deviations behind the way bitcoin's moves account
    for, and begins to catch up; short when it has run ahead of it.

    Bitcoin is the reference of the symbol's own market, in the same currency and timeframe; where it has no candle, or
    is the symbol itself, there is no signal. `indicators/markets.py` says what the divergence is.

    Confidence: 40, plus up to 30 for how far apart they were (none at `apart`, full at twice that), plus up to 30 for
    the correlation (none at its least, full at 0.95).
    """

    name = "btc_divergence"
    version = "1"
    params_type = BtcDivergenceParams

    def market(self) -> Sequence[pl.Expr]:
        return [pl.col("close")]

    def indicators(self) -> list[pl.Expr]:
        p = self.params
        return [ind.correlation(p.period), ind.divergence(p.period, p.span)]

    def long(self) -> pl.Expr:
        return ind.crosses_above(pl.col(self._divergence), -self.params.apart) & self._related

    def short(self) -> pl.Expr:
        return ind.crosses_below(pl.col(self._divergence), self.params.apart) & self._related

    def recent(self) -> list[pl.Expr]:
        return [pl.col(self._divergence).shift(1).alias("divergence_before")]

    def judge(self, row: Row, side: Side) -> Judgement:
        p, related = self.params, row[self._correlation]
        now, before = row[self._divergence], row["divergence_before"]
        where = "behind" if side == "long" else "ahead of"
        return Judgement(
            confidence=confidence(
                (30, ramp(abs(before), p.apart, 2 * p.apart)),
                (30, ramp(related, p.min_correlation, FULL_CORRELATION)),
            ),
            reasons=[
                f"the price was {abs(before):.1f} deviations {where} bitcoin over {p.span} candles, now {now:+.1f}",
                f"its correlation with bitcoin is {related:.2f} over {p.period} candles",
            ],
            features={
                "divergence": now,
                "divergence_before": before,
                "correlation": related,
                "btc_close": row["close@market"],
                "atr": row[self.atr_column],
            },
        )

    @property
    def _divergence(self) -> str:
        return f"divergence_{self.params.period}_{self.params.span}"

    @property
    def _related(self) -> pl.Expr:
        return pl.col(self._correlation) >= self.params.min_correlation

    @property
    def _correlation(self) -> str:
        return f"correlation_{self.params.period}"
