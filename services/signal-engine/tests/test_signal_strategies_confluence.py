"""Confluence: every timeframe and every way of looking has a vote, and every vote is told."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from signal_engine.history import signals_of
from signal_engine.strategies import build
from signal_engine.strategies.votes import ALL_POINTS, VOTES
from tocsin_common.events import SignalRaised

Market = Callable[..., pl.DataFrame]
WithHigher = Callable[..., pl.DataFrame]

CANDLES = 1_600
"""Candles of 15m in which those of 1h and 4h get warm."""

LEVEL = 400.0


def signals(candles: pl.DataFrame, **params: object) -> list[SignalRaised]:
    return signals_of([build("confluence", params)], candles, timeframes=["15m"])


def mirrored(closes: list[float]) -> list[float]:
    return [2 * LEVEL - close for close in closes]


def rise_that_rests_and_goes_on() -> list[float]:
    """Up five steps and down three, again and again; a rest; and a jump out of it."""
    steps = [0.2] * 5 + [-0.2] * 3
    closes, price = [], LEVEL
    for n in range(CANDLES):
        price += steps[n % len(steps)]
        closes.append(price)
    rest = [price - 0.1 * n for n in range(1, 16)]
    return [*closes, *rest, rest[-1] + 1.5, rest[-1] + 3.0, rest[-1] + 4.5]


JUMP = {CANDLES + 15: 5.0, CANDLES + 16: 5.0, CANDLES + 17: 5.0}


@pytest.fixture(scope="module")
def rising(market: Market, with_higher: WithHigher) -> pl.DataFrame:
    return with_higher(market(rise_that_rests_and_goes_on(), JUMP, "15m"), "1h", "4h")


@pytest.fixture(scope="module")
def falling(market: Market, with_higher: WithHigher) -> pl.DataFrame:
    return with_higher(market(mirrored(rise_that_rests_and_goes_on()), JUMP, "15m"), "1h", "4h")


def test_buys_when_the_votes_of_all_timeframes_agree(rising: pl.DataFrame) -> None:
    signal = signals(rising)[-1]
    assert signal.side == "long"
    assert signal.candle_open_ms // 900_000 >= CANDLES + 15
    assert signal.features["points"] >= 80
    assert signal.reasons[0] == f"{signal.features['points']:.0f} of 100 points for a long"


def test_sells_when_they_agree_the_other_way(falling: pl.DataFrame) -> None:
    signal = signals(falling)[-1]
    assert signal.side == "short"
    assert signal.features["points"] >= 80


def test_the_reasons_list_every_vote_with_its_timeframe_and_its_way(rising: pl.DataFrame) -> None:
    signal = signals(rising)[-1]
    assert len(signal.reasons) == 1 + len(VOTES)
    for vote, reason in zip(VOTES, signal.reasons[1:], strict=True):
        way = {1: "is for it", -1: "is against it", 0: "abstains"}[int(signal.features[vote.column])]
        assert reason.startswith(f"{vote.timeframe} {vote.topic} {way} ({vote.points} points): ")
    assert {vote.timeframe for vote in VOTES} == {"15m", "1h", "4h"}


def test_the_points_are_the_votes_for_it_less_those_against(rising: pl.DataFrame, falling: pl.DataFrame) -> None:
    for signal in (*signals(rising, majority=40), *signals(falling, majority=40)):
        cast = sum(vote.points * signal.features[vote.column] for vote in VOTES)
        assert signal.features["points"] == cast >= 40
        assert signal.confidence == round(40 + 60 * (cast - 40) / 60)


def test_all_points_are_a_hundred() -> None:
    assert sum(vote.points for vote in VOTES) == ALL_POINTS == 100
    assert len({vote.column for vote in VOTES}) == len(VOTES)


@pytest.mark.parametrize("timeframe", ["1h", "4h"])
def test_says_nothing_while_a_higher_timeframe_is_unknown(rising: pl.DataFrame, timeframe: str) -> None:
    assert signals(rising.filter(pl.col("timeframe") != timeframe)) == []


def test_a_parameter_out_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"majority 10: .*greater than or equal to 20"):
        build("confluence", {"majority": 10})
