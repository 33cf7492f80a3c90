"""Confluence: several timeframes and several ways of looking at a market vote, and a clear majority is a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies.strategy import Judgement, Params, Row, Strategy, confidence, ramp
from signal_engine.strategies.votes import ALL_POINTS, COLUMNS, FIELDS, HIGHER, JUDGED, VOTES, Vote
from tocsin_common.events import Side

POINTS = "points_for_long"
WORDS = {1: "is for it", -1: "is against it", 0: "abstains"}


class ConfluenceParams(Params):
    majority: int = Field(
        default=80, ge=20, le=95, description="Points for one side, those against it taken off, that make a signal."
    )


class Confluence(Strategy[ConfluenceParams]):
    """Long when the points of the votes for a long, less those against it, reach the majority and one candle earlier
    did not; short mirrored.

    Of 100 points the trend in 4h has 18 and in 1h 14, momentum in 1h 10; on the candle judged momentum has 12, trend
    11, breakout 10, structure and volume 9 each, and standing order blocks 7 (`votes.py` says what each asks).
    Confidence: 40, plus up to 60 for the points beyond the majority (full at 100, when all votes are for it). The
    reasons list every vote.
    """

    name = "confluence"
    version = "1"
    params_type = ConfluenceParams
    timeframes = (JUDGED,)

    def indicators(self) -> list[pl.Expr]:
        return COLUMNS

    def higher(self) -> Mapping[str, Sequence[pl.Expr]]:
        return HIGHER

    def recent(self) -> list[pl.Expr]:
        points = reduce(add, (vote.points * vote.expr for vote in VOTES))
        return [points.alias(POINTS), *(vote.expr for vote in VOTES), *FIELDS]

    def long(self) -> pl.Expr:
        return ind.crosses_above(pl.col(POINTS), self.params.majority - 1)

    def short(self) -> pl.Expr:
        return ind.crosses_below(pl.col(POINTS), 1 - self.params.majority)

    def judge(self, row: Row, side: Side) -> Judgement:
        sign = 1 if side == "long" else -1
        cast = [(vote, sign * int(row[vote.column])) for vote in VOTES]
        points = sign * row[POINTS]
        return Judgement(
            confidence=confidence((60, ramp(points, self.params.majority, ALL_POINTS))),
            reasons=[f"{points} of {ALL_POINTS} points for a {side}", *(_reason(row, *one) for one in cast)],
            features={
                "points": float(points),
                "atr": row[self.atr_column],
                **{vote.column: float(way) for vote, way in cast},
            },
        )


def _reason(row: Row, vote: Vote, way: int) -> str:
    return f"{vote.timeframe} {vote.topic} {WORDS[way]} ({vote.points} points): {vote.says(row)}"
