"""VWAP reversion: after a stretch away from the day's average price, go back towards it once the price turns."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import LOOK_BACK_CANDLES, Judgement, Params, Row, Strategy, confidence, ramp
from tocsin_common.events import Side
from tocsin_trading.timeframes import TIMEFRAME_MS

VWAP = "vwap_session"

SESSION_CANDLES = TIMEFRAME_MS["1d"] // TIMEFRAME_MS["5m"]
"""Candles of a day in the shortest timeframe judged. The session's VWAP sums up the day and knows nothing older, so
with these it is the whole day's, never that of a part."""

HOUR_MS = TIMEFRAME_MS["1h"]


class VwapReversionParams(Params):
    stretch: float = Field(
        default=0.6, ge=0.2, le=10, description="How far from the VWAP the price must have been, in expected moves."
    )
    min_session_hours: int = Field(
        default=5, ge=5, le=23, description="Hours since 00:00 UTC before which the day's VWAP says too little."
    )
    stop_atr: float = Field(
        default=1.5, ge=0.5, le=10, description="Distance from entry to stop, in ATRs; this is 1 R."
    )


class VwapReversion(Strategy[VwapReversionParams]):
    """Long when a candle closes above the high of the one before it, the low of the last five candles was at least
    `stretch` expected moves below the VWAP of the day (UTC), and the nearest target still lies before the VWAP; short
    mirrored.

    The expected move is the ATR times the root of the candles since 00:00 UTC: so far a price wanders by chance, which
    makes days comparable at any hour and in any timeframe. Confidence: 40, plus up to 40 for the stretch (none at
    `stretch`, full at twice that), plus up to 20 for a candle that closes near its own end in the signal's direction.
    """

    name = "vwap_reversion"
    version = "1"
    params_type = VwapReversionParams
    timeframes = ("5m", "15m", "1h")

    def indicators(self) -> list[pl.Expr]:
        return [ind.vwap_session()]

    def memory(self, expr: pl.Expr) -> int:
        return SESSION_CANDLES if expr.meta.output_name() == VWAP else super().memory(expr)

    def recent(self) -> list[pl.Expr]:
        lowest = (pl.col("low") - pl.col(VWAP)).rolling_min(LOOK_BACK_CANDLES).alias("vwap_lowest")
        highest = (pl.col("high") - pl.col(VWAP)).rolling_max(LOOK_BACK_CANDLES).alias("vwap_highest")
        since_midnight = pl.col("open_ms") % TIMEFRAME_MS["1d"]
        candles = since_midnight // (pl.col("open_ms") - pl.col("open_ms").shift(1)) + 1
        move = pl.col(self.atr_column) * candles.cast(pl.Float64).sqrt()
        return [lowest, highest, move.alias("expected_move")]

    def long(self) -> pl.Expr:
        stretched = pl.col("vwap_lowest") <= -self.params.stretch * pl.col("expected_move")
        turned = ind.crosses_above(pl.col("close"), pl.col("high").shift(1))
        return turned & stretched & (pl.col("close") + self._room <= pl.col(VWAP)) & self._late_enough

    def short(self) -> pl.Expr:
        stretched = pl.col("vwap_highest") >= self.params.stretch * pl.col("expected_move")
        turned = ind.crosses_below(pl.col("close"), pl.col("low").shift(1))
        return turned & stretched & (pl.col("close") - self._room >= pl.col(VWAP)) & self._late_enough

    def judge(self, row: Row, side: Side) -> Judgement:
        p, vwap, atr, close = self.params, row[VWAP], row[self.atr_column], row["close"]
        if side == "long":
            away, rejection, beyond, turned = -row["vwap_lowest"], close - row["low"], "below", "above the high"
        else:
            away, rejection, beyond, turned = row["vwap_highest"], row["high"] - close, "above", "below the low"
        spread, stretch = row["high"] - row["low"], away / row["expected_move"]
        rejection = rejection / spread if spread > 0 else 0.0
        return Judgement(
            confidence=confidence((40, ramp(stretch, p.stretch, 2 * p.stretch)), (20, rejection)),
            reasons=[
                f"the price was {away / atr:.1f} ATR {beyond} the day's VWAP ({vwap:.6g})",
                f"that is {stretch:.1f} times the move to expect until this hour",
                f"close {close:.6g} is {turned} of the candle before",
                f"there are {abs(vwap - close) / atr:.1f} ATR to go to the VWAP",
            ],
            features={"vwap": vwap, "stretch": stretch, "rejection": rejection, "atr": atr},
        )

    @property
    def _room(self) -> pl.Expr:
        """Distance of the nearest target."""
        return self.params.stop_atr * self.params.targets_r[0] * pl.col(self.atr_column)

    @property
    def _late_enough(self) -> pl.Expr:
        return pl.col("open_ms") % TIMEFRAME_MS["1d"] >= self.params.min_session_hours * HOUR_MS
