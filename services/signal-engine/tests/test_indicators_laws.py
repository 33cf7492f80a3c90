"""What holds for every indicator there is, on any candles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_engine import indicators as ind

STEP_MS = 3_600_000

every_indicator = pytest.mark.parametrize("indicator", ind.INDICATORS, ids=lambda indicator: indicator.name)


@st.composite
def candles(draw: st.DrawFn, rows_min: int = 1) -> pl.DataFrame:
    """One window of up to 160 candles on a coarse grid of prices: equal highs, flat stretches, no trades."""
    rows = draw(st.integers(rows_min, 160))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = draw(st.sampled_from((0, 1, 3, 20)))
    traded = draw(st.sampled_from((0.0, 0.5, 1.0)))
    closes = 1_000 + np.cumsum(rng.integers(-step, step + 1, rows)).clip(-900)
    opens = np.concatenate((closes[:1], closes[:-1]))
    wicks = rng.integers(0, step + 1, (2, rows))
    columns = {
        "open": opens,
        "high": np.maximum(opens, closes) + wicks[0],
        "low": np.minimum(opens, closes) - wicks[1],
        "close": closes,
        "volume": rng.integers(0, 50, rows) * (rng.random(rows) < traded),
    }
    first = draw(st.integers(0, 30))
    return pl.DataFrame({name: np.asarray(values, np.float64) / 8 for name, values in columns.items()}).with_columns(
        open_ms=(pl.int_range(pl.len()) + first) * STEP_MS,
        preceding=pl.int_range(pl.len(), dtype=pl.UInt32),
        window=pl.lit(0, pl.UInt32),
    )


def values(window: pl.DataFrame, indicator: ind.Indicator[Any]) -> pl.Series:
    return window.select(indicator()).to_series()


@every_indicator
@settings(max_examples=12)
@given(window=candles(rows_min=2), share=st.floats(0, 1))
def test_later_candles_change_no_earlier_value(
    indicator: ind.Indicator[Any], window: pl.DataFrame, share: float
) -> None:
    cut = 1 + math.floor(share * (len(window) - 1))
    assert values(window.head(cut), indicator).equals(values(window, indicator).head(cut), null_equal=True)


@every_indicator
@settings(max_examples=8)
@given(windows=st.lists(candles(), min_size=2, max_size=4))
def test_windows_know_nothing_of_each_other(indicator: ind.Indicator[Any], windows: list[pl.DataFrame]) -> None:
    apart = pl.concat([values(window, indicator) for window in windows])
    numbered = [window.with_columns(window=pl.lit(n, pl.UInt32)) for n, window in enumerate(windows)]
    assert values(pl.concat(numbered), indicator).equals(apart, null_equal=True)


@every_indicator
@settings(max_examples=12)
@given(window=candles())
def test_a_value_is_finite_or_absent(indicator: ind.Indicator[Any], window: pl.DataFrame) -> None:
    column = values(window, indicator)
    assert column.dtype == pl.Float64
    assert column.drop_nulls().is_finite().all()


@every_indicator
def test_before_the_memory_nothing_weighs_more_than_1e_9(
    indicator: ind.Indicator[Any], four_hours: pl.DataFrame, one_window: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    long = four_hours.filter(pl.col("symbol").str.starts_with("BTC")).tail(6_000)
    column = indicator().meta.output_name()
    try:
        memory = ind.memory_of(column)
    except ValueError:
        return  # it says that it has none
    whole = values(one_window(long), indicator)
    largest = whole.abs().max()
    for end in range(5_000, 6_001, 50):
        found, expected = values(one_window(long[end - memory : end]), indicator)[-1], whole[end - 1]
        assert (found is None) == (expected is None)
        assert found is None or abs(found - expected) <= 1e-9 * largest


def test_a_column_is_named_after_its_indicator_and_all_its_periods() -> None:
    assert ind.macd_signal(5, slow=10).meta.output_name() == "macd_signal_5_10_9"
    assert ind.bollinger_upper(20, 2.5).meta.output_name() == "bollinger_upper_20_2.5"
    assert ind.bollinger_upper(20, 2.0).meta.output_name() == "bollinger_upper_20_2"
    assert ind.obv().meta.output_name() == "obv"


def test_the_memory_is_told_by_expression_or_by_name() -> None:
    assert ind.memory_of(ind.sma(100)) == ind.memory_of("sma_100") == 100
    assert ind.memory_of("ema_12") == 12 + math.ceil(math.log(1e-9) / math.log(1 - 2 / 13))
    assert ind.memory_of("atr_14") == 15 + math.ceil(math.log(1e-9) / math.log(1 - 1 / 14))


@pytest.mark.parametrize("column", ["close", "ema_cross", "12", "sma_100@1h", ""])
def test_what_is_no_indicators_column_has_no_memory(column: str) -> None:
    with pytest.raises(ValueError, match="there is no indicator behind"):
        ind.memory_of(column)


@pytest.mark.parametrize("expression", [ind.obv(), ind.vwap_session(), ind.supertrend(10, 3.0)])
def test_an_indicator_that_never_forgets_says_so(expression: pl.Expr) -> None:
    with pytest.raises(ValueError, match="no bounded memory"):
        ind.memory_of(expression)
