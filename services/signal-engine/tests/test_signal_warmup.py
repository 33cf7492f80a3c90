"""How long a column needs, measured on real candles: what never settles is named, what claims too little is caught."""

from __future__ import annotations

import math

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.drift import History
from signal_engine.strategies.ema_cross import EmaCross, EmaCrossParams
from signal_engine.strategies.rsi_reversion import RsiReversion, RsiReversionParams
from signal_engine.warmup import SEEN, check_warm_up, measure_indicators


class Impatient(EmaCross):
    """An EMA cross whose author thinks that an EMA of 26 candles needs 26."""

    name = "impatient"

    def memory(self, expr: pl.Expr) -> int:
        return 26


class Tallies(RsiReversion):
    """Reads a running total, and says that twenty candles of it are enough."""

    name = "tallies"

    def indicators(self) -> list[pl.Expr]:
        return [*super().indicators(), ind.obv()]

    def memory(self, expr: pl.Expr) -> int:
        return 20 if expr.meta.output_name() == "obv" else super().memory(expr)


class FromAbove(RsiReversion):
    """Looks at an average of a day of four hours each."""

    name = "from_above"

    def higher(self) -> dict[str, list[pl.Expr]]:
        return {"1d": [ind.ema(20), pl.col("close")]}


@pytest.fixture(scope="module")
def history(four_hours: pl.DataFrame) -> History:
    return History(four_hours)


def test_what_an_average_has_not_seen_weighs_as_much_as_its_law_says(history: History) -> None:
    drifts = history.drifts(ind.ema(20), [40, 80, 160])
    for fewer, more in ((40, 80), (80, 160)):
        small, large = drifts[more], drifts[fewer]
        assert small is not None
        assert large is not None
        assert math.log(small / large) == pytest.approx((more - fewer) * math.log(1 - 2 / 21), rel=0.15)


def test_a_window_that_sees_all_an_average_is_of_has_no_drift(history: History) -> None:
    drifts = history.drifts(ind.sma(20), [19, 20])
    assert drifts[19] == math.inf  # no value yet, on all of history there is one
    assert drifts[20] == pytest.approx(0, abs=1e-12)


def test_a_market_too_short_for_twice_as_many_candles_says_nothing(four_hours: pl.DataFrame) -> None:
    short = History(four_hours.group_by("symbol", maintain_order=True).head(199))
    assert short.drifts(ind.sma(20), [99, 100])[100] is None
    assert short.drifts(ind.sma(20), [99, 100])[99] is not None


def test_every_indicator_is_measured_at_its_memory_and_those_without_one_are_named(four_hours: pl.DataFrame) -> None:
    told: list[tuple[int, int]] = []
    measured = measure_indicators(four_hours, progress=lambda *at: told.append(at))
    assert len(measured) == len(ind.INDICATORS) == len(told)
    endless = {name for name, drifts in measured.items() if drifts.memory is None}
    assert {"obv", "vwap_session", "supertrend_10_3"} <= endless
    for name, drifts in measured.items():
        if drifts.memory is not None:
            at_memory = drifts.seen[drifts.memory]
            assert at_memory is not None, name
            assert at_memory <= 1e-9, name
    assert measured["obv"].seen[SEEN[-1]] > 1e-3  # type: ignore[operator]  # there are ten years of candles
    assert list(measured["ema_20"].seen) == [16, 32, 64, 128, ind.memory_of("ema_20")]


def test_a_derived_warm_up_suffices(four_hours: pl.DataFrame) -> None:
    verdicts = check_warm_up([EmaCross(EmaCrossParams()), RsiReversion(RsiReversionParams())], four_hours)
    assert [verdict.suffices for verdict in verdicts.values()] == [True, True]
    assert all(verdict.timeframes == ["4h"] for verdict in verdicts.values())
    assert not any(verdict.stated for verdict in verdicts.values())


def test_a_warm_up_that_is_too_short_is_found_with_its_worst_column(four_hours: pl.DataFrame) -> None:
    verdict = check_warm_up([Impatient(EmaCrossParams())], four_hours)["impatient"]
    assert not verdict.suffices
    assert verdict.measured
    column, drift = verdict.worst
    assert column == "sma_100"
    assert drift == math.inf


def test_a_total_that_never_forgets_is_named_and_measured(four_hours: pl.DataFrame) -> None:
    verdict = check_warm_up([Tallies(RsiReversionParams())], four_hours)["tallies"]
    assert verdict.stated == ["obv"]
    assert not verdict.suffices
    assert verdict.worst[0] == "obv"


def test_columns_of_higher_timeframes_are_measured_too(four_hours: pl.DataFrame) -> None:
    verdict = check_warm_up([FromAbove(RsiReversionParams())], four_hours)["from_above"]
    assert {"ema_20@1d", "close@1d"} <= verdict.drifts.keys()
    assert verdict.suffices


def test_too_few_candles_are_no_verdict(four_hours: pl.DataFrame) -> None:
    verdict = check_warm_up([EmaCross(EmaCrossParams())], four_hours.head(500))["ema_cross"]
    assert not verdict.measured
    assert not verdict.suffices
