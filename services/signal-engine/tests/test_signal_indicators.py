"""Every indicator against a plain-Python reference, on real candles."""

from __future__ import annotations

import math

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.history import _anchored

TOLERANCE = 1e-9


def windowed(candles: pl.DataFrame) -> pl.DataFrame:
    """One long window of one series, in the shape the indicators expect."""
    first = pl.col("close").shift(1).fill_null(pl.col("open"))
    return candles.with_columns(first.alias("before"), pl.lit(0, pl.UInt32).alias("window"))


def recursion(values: list[float], alpha: float) -> list[float]:
    smooth = [values[0]]
    for value in values[1:]:
        smooth.append(smooth[-1] + alpha * (value - smooth[-1]))
    return smooth


def mean_of_last(values: list[float], period: int) -> list[float]:
    filled = range(period - 1, len(values))
    return [math.nan] * (period - 1) + [math.fsum(values[i + 1 - period : i + 1]) / period for i in filled]


def assert_same(frame: pl.DataFrame, expr: pl.Expr, expected: list[float], *, after: int) -> None:
    found = frame.select(expr).to_series().to_list()
    assert len(found) == len(expected)
    for row in range(after, len(expected)):
        assert found[row] == pytest.approx(expected[row], rel=TOLERANCE, abs=TOLERANCE), row


@pytest.fixture(scope="module")
def bitcoin(four_hours: pl.DataFrame) -> pl.DataFrame:
    return windowed(four_hours.filter(pl.col("symbol").str.starts_with("BTC")).head(3_000))


def test_ema_is_the_recursion_of_closes(bitcoin: pl.DataFrame) -> None:
    closes = bitcoin["close"].to_list()
    assert_same(bitcoin, ind.ema(26), recursion(closes, 2 / 27), after=0)


def test_sma_is_the_mean_of_the_last_closes(bitcoin: pl.DataFrame) -> None:
    assert_same(bitcoin, ind.sma(100), mean_of_last(bitcoin["close"].to_list(), 100), after=99)


def test_volume_ratio_compares_with_the_mean_volume(bitcoin: pl.DataFrame) -> None:
    volumes = bitcoin["volume"].to_list()
    expected = [volume / mean for volume, mean in zip(volumes, mean_of_last(volumes, 20), strict=True)]
    assert_same(bitcoin, ind.volume_ratio(20), expected, after=19)


def test_atr_is_wilders_mean_of_the_true_range(bitcoin: pl.DataFrame) -> None:
    rows = bitcoin.select("high", "low", "before").iter_rows()
    ranges = [max(high - low, abs(high - before), abs(low - before)) for high, low, before in rows]
    assert_same(bitcoin, ind.atr(14), recursion(ranges, 1 / 14), after=0)


def test_rsi_is_the_share_of_gains_in_wilders_means(bitcoin: pl.DataFrame) -> None:
    changes = [close - before for close, before in bitcoin.select("close", "before").iter_rows()]
    gains = recursion([max(change, 0.0) for change in changes], 1 / 14)
    losses = recursion([max(-change, 0.0) for change in changes], 1 / 14)
    expected = [100 - 100 / (1 + gain / loss) if loss else 100.0 for gain, loss in zip(gains, losses, strict=True)]
    assert_same(bitcoin, ind.rsi(14), expected, after=14)


def test_donchian_channel_leaves_the_candle_itself_out(bitcoin: pl.DataFrame) -> None:
    highs, lows = bitcoin["high"].to_list(), bitcoin["low"].to_list()
    upper = [max(highs[max(0, i - 55) : i], default=math.nan) for i in range(len(highs))]
    lower = [min(lows[max(0, i - 55) : i], default=math.nan) for i in range(len(lows))]
    assert_same(bitcoin, ind.highest(55), upper, after=55)
    assert_same(bitcoin, ind.lowest(55), lower, after=55)


def test_a_market_that_stands_still_has_an_rsi_of_50_and_no_volume_ratio() -> None:
    still = pl.DataFrame({name: [100.0] * 60 for name in ("open", "high", "low", "close")} | {"volume": [0.0] * 60})
    frame = windowed(still).select(ind.rsi(14), ind.volume_ratio(20), ind.atr(14)).tail(1)
    assert frame.row(0) == (50.0, 0.0, 0.0)


def test_no_recursion_or_sum_runs_from_one_window_into_the_next(minutes: pl.DataFrame) -> None:
    expressions = [ind.ema(12), ind.sma(100), ind.atr(14), ind.rsi(14), ind.volume_ratio(20)]
    together = _anchored(minutes, 60_000).with_columns(expressions)
    names = [expression.meta.output_name() for expression in expressions]
    for _, window in together.group_by("window", maintain_order=True):
        assert window.select(names).equals(window.with_columns(expressions).select(names), null_equal=True)
