"""Every indicator that TA-Lib has, against TA-Lib's own wheel on real candles, where it has no value included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import talib

from signal_engine import indicators as ind

Floats = npt.NDArray[np.float64]
AsWindow = Callable[[pl.DataFrame], pl.DataFrame]
Oracle = Callable[[dict[str, Floats]], Floats]

TOLERANCE = 1e-9
"""Of the largest value of the column: TA-Lib's own sums and those of its wheel may round differently."""

SHARED: list[tuple[pl.Expr, Oracle]] = [
    (ind.sma(100), lambda c: talib.SMA(c["close"], 100)),
    (ind.ema(12), lambda c: talib.EMA(c["close"], 12)),
    (ind.ema(200), lambda c: talib.EMA(c["close"], 200)),
    (ind.wma(20), lambda c: talib.WMA(c["close"], 20)),
    (ind.hma(20), lambda c: talib.HMA(c["close"], 20)),
    (ind.kama(10), lambda c: talib.KAMA(c["close"], 10)),
    (ind.rsi(14), lambda c: talib.RSI(c["close"], 14)),
    (ind.stochastic_k(14, 3, 3), lambda c: talib.STOCH(c["high"], c["low"], c["close"], 14, 3, 0, 3, 0)[0]),
    (ind.stochastic_d(14, 3, 3), lambda c: talib.STOCH(c["high"], c["low"], c["close"], 14, 3, 0, 3, 0)[1]),
    (ind.macd(12, 26), lambda c: talib.MACD(c["close"], 12, 26, 1)[0]),
    (ind.macd_signal(12, 26, 9), lambda c: talib.MACD(c["close"], 12, 26, 9)[1]),
    (ind.macd_histogram(12, 26, 9), lambda c: talib.MACD(c["close"], 12, 26, 9)[2]),
    (ind.adx(14), lambda c: talib.ADX(c["high"], c["low"], c["close"], 14)),
    (ind.plus_di(14), lambda c: talib.PLUS_DI(c["high"], c["low"], c["close"], 14)),
    (ind.minus_di(14), lambda c: talib.MINUS_DI(c["high"], c["low"], c["close"], 14)),
    (ind.atr(14), lambda c: talib.ATR(c["high"], c["low"], c["close"], 14)),
    (ind.bollinger_upper(20, 2.0), lambda c: talib.BBANDS(c["close"], 20, 2.0, 2.0)[0]),
    (ind.bollinger_lower(20, 2.5), lambda c: talib.BBANDS(c["close"], 20, 2.5, 2.5)[2]),
    (ind.keltner_upper(20, 10, 2.0), lambda c: talib.KC(c["high"], c["low"], c["close"], 20, 10, 2.0)[0]),
    (ind.keltner_lower(20, 10, 1.5), lambda c: talib.KC(c["high"], c["low"], c["close"], 20, 10, 1.5)[2]),
    (ind.highest(55), lambda c: one_later(talib.DONCHIAN(c["high"], c["low"], 55)[0])),
    (ind.lowest(55), lambda c: one_later(talib.DONCHIAN(c["high"], c["low"], 55)[2])),
    (ind.supertrend(10, 3.0), lambda c: talib.SUPERTREND(c["high"], c["low"], c["close"], 10, 3.0)[0]),
    (ind.ichimoku_line(26), lambda c: talib.MIDPRICE(c["high"], c["low"], 26)),
    (ind.obv(), lambda c: talib.OBV(c["close"], c["volume"])),
    (ind.mfi(14), lambda c: talib.MFI(c["high"], c["low"], c["close"], c["volume"], 14)),
    (ind.cmf(20), lambda c: talib.CMF(c["high"], c["low"], c["close"], c["volume"], 20)),
]

MARKETS = ("binance_1m_23_symbols_2021-05", "binance_1h_136_symbols_2024", "coinbase_4h_btc_eth_2016-2025")


def one_later(values: Floats) -> Floats:
    return np.concatenate(([np.nan], values[:-1]))


def arrays(window: pl.DataFrame) -> dict[str, Floats]:
    return {name: window[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}


def assert_same(found: pl.Series, expected: Floats) -> None:
    """Null where TA-Lib has NaN, and elsewhere the same to TOLERANCE."""
    absent = np.isnan(expected)
    assert found.is_null().to_numpy().tolist() == absent.tolist()
    difference = np.abs(found.to_numpy()[~absent] - expected[~absent])
    assert difference.max() <= TOLERANCE * np.abs(expected[~absent]).max()


@pytest.fixture(scope="module", params=MARKETS)
def windows(request: pytest.FixtureRequest, shared_data: Path) -> pl.DataFrame:
    """Two real series of 4,000 candles, each a window."""
    rows = pl.scan_parquet(shared_data / "candles" / f"{request.param}.parquet").rename({"ts_ms": "open_ms"})
    symbols = rows.select("symbol").unique().sort("symbol").head(2)
    candles = rows.join(symbols, on="symbol").sort("symbol", "open_ms").collect(engine="in-memory")
    first = candles.with_columns(preceding=pl.int_range(pl.len(), dtype=pl.UInt32).over("symbol"))
    return first.filter(pl.col("preceding") < 4_000).with_columns(window=pl.col("symbol").rle_id())


@pytest.mark.parametrize(("expression", "oracle"), SHARED, ids=[expr.meta.output_name() for expr, _ in SHARED])
def test_equals_talib_on_real_candles(windows: pl.DataFrame, expression: pl.Expr, oracle: Oracle) -> None:
    for _, window in windows.with_columns(expression).group_by("window", maintain_order=True):
        assert_same(window[expression.meta.output_name()], oracle(arrays(window)))


def test_the_side_of_the_supertrend_is_talibs_trend_once_there_is_one(windows: pl.DataFrame) -> None:
    for _, window in windows.with_columns(ind.supertrend_side(10, 3.0)).group_by("window", maintain_order=True):
        values = arrays(window)
        trend = talib.SUPERTREND(values["high"], values["low"], values["close"], 10, 3.0)[1].astype(np.float64)
        assert_same(window["supertrend_side_10_3"], np.where(trend == 0, np.nan, trend))


def test_the_macd_is_its_signal_plus_its_histogram(windows: pl.DataFrame) -> None:
    columns = windows.select(ind.macd(12, 26), ind.macd_signal(12, 26, 9), ind.macd_histogram(12, 26, 9)).drop_nulls()
    macd, signal, histogram = (column.to_numpy() for column in columns.get_columns())
    assert np.abs(macd - signal - histogram).max() <= TOLERANCE * np.abs(macd).max()


def test_the_anchored_vwap_is_talibs_from_the_anchor_on(minutes: pl.DataFrame, one_window: AsWindow) -> None:
    window = one_window(minutes.head(3_000))
    vwap = ind.vwap_anchored(window["open_ms"][500])
    assert_same(window.select(vwap).to_series(), np.concatenate((np.full(500, np.nan), vwap_of(window[500:]))))


def test_the_session_vwap_is_talibs_of_every_day_that_the_window_holds_from_its_beginning(
    minutes: pl.DataFrame, one_window: AsWindow
) -> None:
    window = one_window(minutes.head(4_000))
    days = window.group_by(pl.col("open_ms") // 86_400_000, maintain_order=True)
    expected = [vwap_of(day) if day["open_ms"][0] % 86_400_000 == 0 else np.full(len(day), np.nan) for _, day in days]
    assert_same(window.select(ind.vwap_session()).to_series(), np.concatenate(expected))


def vwap_of(candles: pl.DataFrame) -> Floats:
    return talib.VWAP(*(candles[name].to_numpy() for name in ("high", "low", "close", "volume")))


def test_from_a_missing_candle_on_there_is_no_value_until_the_next_window() -> None:
    closes = [None, None, 1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0, *(1.0, 2.0, 3.0), *(None, None)]
    preceding = [*range(9), *range(3), *range(2)]
    window = pl.DataFrame({"close": closes, "preceding": preceding}, schema_overrides={"close": pl.Float64})
    averages = window.select(ind.ema(2)).to_series()
    assert averages.to_list() == [*(None, None, None, 1.5, 2.5, None, None, None, None), *(None, 1.5, 2.5), None, None]
