"""What the market as a whole is: who rises, who falls, and how a symbol moves with the reference."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_engine import indicators as ind
from signal_engine.market import VALUES, Market, Together, markets_of
from signal_engine.watching import Watched

MINUTE_MS = 60_000
USDT = Market("binance", "/USDT", "1m")

Candle = tuple[str, int, float, float]
"""Symbol, minute, open and close."""


def frame(candles: Sequence[Candle]) -> pl.DataFrame:
    rows = [
        ("binance", symbol, "1m", minute * MINUTE_MS, opened, max(opened, close), min(opened, close), close, 1.0)
        for symbol, minute, opened, close in candles
    ]
    names = ("exchange", "symbol", "timeframe", "open_ms", "open", "high", "low", "close", "volume")
    return pl.DataFrame(rows, schema=list(names), orient="row")


def column(candles: Together, name: str) -> list[float]:
    found: list[float] = candles.values[VALUES.index(name)].tolist()
    return found


def test_a_market_counts_who_rises_and_who_falls_and_has_the_prices_of_bitcoin() -> None:
    found = markets_of(
        frame([("ETH/USDT", 5, 10, 11), ("BTC/USDT", 5, 100, 99), ("SOL/USDT", 5, 1, 2), ("ADA/USDT", 5, 3, 3)])
    )[USDT]
    assert found.opens.tolist() == [5 * MINUTE_MS]
    assert [column(found, name) for name in ("open", "close", "advancers", "decliners")] == [[100], [99], [2], [1]]


def test_what_is_quoted_otherwise_is_another_market() -> None:
    found = markets_of(frame([("BTC/USDT", 1, 1, 2), ("ETH/EUR", 1, 1, 2), ("BTC/USDT:USDT", 1, 2, 1)]))
    quotes = {market.quote: column(one, "advancers") for market, one in found.items()}
    assert quotes == {"/USDT": [1], "/EUR": [1], "/USDT:USDT": [0]}
    assert np.isnan(column(found[USDT._replace(quote="/EUR")], "close")).all()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_seen_live_is_what_history_has_whatever_the_order_and_however_often(seed: int) -> None:
    rng = random.Random(seed)
    symbols = [f"{base}/USDT" for base in ("BTC", "ETH", "SOL", "ADA")]
    candles = [
        (symbol, minute, 8.0, 8.0 + rng.randrange(-1, 2))
        for symbol in symbols
        for minute in range(rng.randrange(50), 400)
        if rng.random() < 0.9
    ]
    live = Watched(USDT, 128)
    for symbol, minute, opened, close in rng.sample([*candles, *candles[:50]], len(candles) + 50):
        live.add(symbol, [minute * MINUTE_MS], ([opened], [max(opened, close)], [min(opened, close)], [close], [1.0]))
        if rng.random() < 0.05:
            live.together()
    found, expected = live.together(), markets_of(frame(candles))[USDT]
    assert found.opens.tolist() == expected.opens.tolist()
    np.testing.assert_array_equal(found.values, expected.values)


def test_of_several_candles_of_one_moment_the_first_counts() -> None:
    live = Watched(USDT, 128)
    for close in (2.0, 0.5):
        live.add("BTC/USDT", [0], ([1.0], [close], [close], [close], [1.0]))
    assert [column(live.together(), name) for name in ("close", "advancers", "decliners")] == [[2], [1], [0]]


def test_what_no_window_reaches_any_more_is_forgotten_and_does_not_come_back() -> None:
    live = Watched(USDT, 128)
    minutes = np.arange(1_000)
    live.add("BTC/USDT", minutes * MINUTE_MS, np.ones((5, 1_000)))
    live.forget(1_000 * MINUTE_MS)
    live.add("ETH/USDT", minutes * MINUTE_MS, np.ones((5, 1_000)))
    since = (1_000 - 8) // 128 * 128 - 128
    assert live.together().opens.tolist() == (minutes[since:] * MINUTE_MS).tolist()
    assert live.together().since_ms == since * MINUTE_MS


@pytest.fixture(scope="module")
def beside(one_window: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """A symbol that moves with bitcoin, half as far, and sometimes as it likes."""
    rng = np.random.default_rng(5)
    bitcoin = 100 + np.cumsum(rng.normal(size=300))
    own = 50 + np.cumsum(0.5 * np.diff(bitcoin, prepend=100) + 0.2 * rng.normal(size=300))
    return one_window(pl.DataFrame({"close": own, "close@market": bitcoin}))


def test_correlation_and_beta_are_those_of_the_last_changes(beside: pl.DataFrame) -> None:
    found = beside.select(ind.correlation(50), ind.beta(50))
    own, bitcoin = (np.diff(beside[name].to_numpy()) for name in ("close", "close@market"))
    assert found["correlation_50"].null_count() == found["beta_50"].null_count() == 50
    for at in (50, 120, 299):
        covariance = np.cov(own[at - 50 : at], bitcoin[at - 50 : at], bias=True)
        expected = np.corrcoef(own[at - 50 : at], bitcoin[at - 50 : at])[0, 1]
        assert found["correlation_50"][at] == pytest.approx(expected, abs=1e-9)
        assert found["beta_50"][at] == pytest.approx(covariance[0, 1] / covariance[1, 1], abs=1e-9)


def test_divergence_is_the_way_that_beta_does_not_account_for_in_deviations(beside: pl.DataFrame) -> None:
    found = beside.select(ind.divergence(50, 5), ind.beta(50), ind.correlation(50))
    own, bitcoin = (beside[name].to_numpy() for name in ("close", "close@market"))
    at, before = 200, 195
    beyond = own[at] - own[before] - found["beta_50"][before] * (bitcoin[at] - bitcoin[before])
    deviation = np.std(np.diff(own)[before - 50 : before]) * np.sqrt(1 - found["correlation_50"][before] ** 2)
    assert found["divergence_50_5"][at] == pytest.approx(beyond / (deviation * np.sqrt(5)), abs=1e-9)
    assert found["divergence_50_5"].null_count() == 55


def test_bitcoin_has_no_divergence_from_itself(beside: pl.DataFrame) -> None:
    itself = beside.with_columns(pl.col("close@market").alias("close"))
    found = itself.select(ind.divergence(50, 5), ind.correlation(50))
    assert found["divergence_50_5"].null_count() == len(itself)
    assert found["correlation_50"].drop_nulls().to_list() == pytest.approx([1.0] * 250)


def test_where_bitcoin_is_missing_nothing_is_known_until_it_is_there_for_long_enough(beside: pl.DataFrame) -> None:
    gap = beside.with_columns(pl.when(pl.col("preceding") != 150).then("close@market").alias("close@market"))
    known = gap.select(ind.correlation(50))["correlation_50"].is_not_null()
    assert known.arg_true().to_list() == [*range(50, 150), *range(201, 300)]


def test_breadth_is_the_surplus_of_advancing_candles() -> None:
    counts = pl.DataFrame(
        {"advancers": [3.0, 0.0, 4.0, 0.0], "decliners": [1.0, 4.0, 0.0, 0.0], "window": [0, 0, 0, 1]}
    )
    assert counts.select(ind.breadth(2))["breadth_2"].to_list() == [None, -0.25, 0.0, None]
    assert counts.select(ind.breadth(1))["breadth_1"].to_list() == [0.5, -1.0, 1.0, None]
