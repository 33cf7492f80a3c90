"""Strategies that go with a move: MACD in the trend, SuperTrend, and the break out of a Bollinger squeeze."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.history import anchored, signals_of
from signal_engine.strategies import build
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

Market = Callable[..., pl.DataFrame]
AsWindow = Callable[[pl.DataFrame], pl.DataFrame]

WARM = 400
"""Candles after which every strategy may fire."""

LEVEL = 400.0
"""Prices of the mirrored market are twice this less those of the market."""


def signals(name: str, candles: pl.DataFrame, **params: object) -> list[SignalRaised]:
    return signals_of([build(name, params)], candles)


def mirrored(closes: list[float]) -> list[float]:
    return [2 * LEVEL - close for close in closes]


def slope(start: float, step: float, candles: int) -> list[float]:
    """Prices that follow `start`."""
    return [start + step * n for n in range(1, candles + 1)]


def dip_in_a_rise(depth: int = 15) -> list[float]:
    rise = slope(LEVEL, 0.3, WARM)
    dip = slope(rise[-1], -0.6, depth)
    return [*rise, *dip, *slope(dip[-1], 0.8, 20)]


def calm(candles: int) -> list[float]:
    return [LEVEL + (0.2 if n % 2 else 0.0) for n in range(candles)]


def test_macd_trend_buys_the_end_of_a_dip_in_a_rising_market(market: Market) -> None:
    (signal,) = signals("macd_trend", market(dip_in_a_rise()))
    assert signal.side == "long"
    assert signal.features["macd"] < 0 < signal.features["macd_histogram"]
    assert signal.entry > signal.features["sma_trend"]
    assert signal.reasons[0].startswith("MACD 12/26 (-")
    assert "below zero by" in signal.reasons[1]


def test_macd_trend_sells_the_end_of_a_bounce_in_a_falling_market(market: Market) -> None:
    (signal,) = signals("macd_trend", market(mirrored(dip_in_a_rise())))
    assert signal.side == "short"
    assert signal.features["macd"] > 0 > signal.features["macd_histogram"]


def test_macd_trend_does_not_buy_the_end_of_a_dip_that_broke_the_trend(market: Market) -> None:
    assert signals("macd_trend", market(dip_in_a_rise(depth=60)[: WARM + 66])) == []


def test_the_distance_of_two_averages_is_the_macd_once_they_are_warm(month: pl.DataFrame, one_window: AsWindow) -> None:
    candles = month.filter((pl.col("timeframe") == "1h") & (pl.col("symbol") == "ETH/USDT")).sort("open_ms")
    away = (ind.ema(12) - ind.ema(26) - ind.macd(12, 26)) / pl.col("close")
    warm = one_window(candles).select(away.abs()).to_series()[build("macd_trend").warm_up_candles :]
    assert len(warm) > 400
    assert warm.max() < 1e-9


def test_supertrend_goes_with_a_rise_that_resumes_and_stops_at_its_line(market: Market) -> None:
    (signal,) = signals("supertrend", market(dip_in_a_rise()))
    assert signal.side == "long"
    assert signal.entry > signal.stop
    assert signal.stop >= signal.features["supertrend"]
    assert signal.stop >= signal.entry - 4 * signal.features["atr"] - 1e-9


def test_supertrend_goes_with_a_fall_that_resumes(market: Market) -> None:
    (signal,) = signals("supertrend", market(mirrored(dip_in_a_rise())))
    assert signal.side == "short"
    assert signal.entry < signal.stop <= signal.features["supertrend"]


def test_a_supertrends_stop_is_never_farther_than_asked(market: Market) -> None:
    (signal,) = signals("supertrend", market(dip_in_a_rise()), stop_atr=1)
    assert signal.entry - signal.stop == pytest.approx(signal.features["atr"])


def test_supertrend_does_not_go_with_a_turn_against_the_trend(market: Market) -> None:
    rise = slope(LEVEL, 0.3, WARM)
    closes = [*rise, *slope(rise[-1], -1.5, 5)]
    assert signals("supertrend", market(closes)) == []
    assert [signal.side for signal in signals("supertrend", market(closes), trend=20)] == ["short"]


def test_a_squeeze_is_left_upwards_on_volume(market: Market) -> None:
    (signal,) = signals("bollinger_squeeze", market([*calm(WARM), LEVEL + 1.5], {WARM: 4.0}))
    assert signal.side == "long"
    assert signal.entry == LEVEL + 1.5 > signal.features["band"] > signal.features["band_middle"]
    assert signal.features["squeeze_width_atr"] == pytest.approx(0.5, abs=0.1)
    assert signal.reasons[1].endswith("of their middle for 5 candles")


def test_a_squeeze_is_left_downwards_on_volume(market: Market) -> None:
    (signal,) = signals("bollinger_squeeze", market([*calm(WARM), LEVEL - 1.5], {WARM: 4.0}))
    assert signal.side == "short"


def test_a_squeeze_that_is_left_without_volume_is_not_believed(market: Market) -> None:
    assert signals("bollinger_squeeze", market([*calm(WARM), LEVEL + 1.5])) == []


def test_bands_that_were_wide_are_no_squeeze(market: Market) -> None:
    waves = [LEVEL + abs(n % 40 - 20) for n in range(WARM)]
    assert signals("bollinger_squeeze", market([*waves, 440.0], {WARM: 4.0})) == []


def test_a_supertrend_in_its_window_is_the_path_since_the_beginning(month: pl.DataFrame, one_window: AsWindow) -> None:
    line, warm = ind.supertrend(10, 3.0), build("supertrend").warm_up_candles
    candles = month.filter((pl.col("timeframe") == "5m") & (pl.col("symbol") == "ETH/USDT")).sort("open_ms")
    windows = anchored(candles.with_columns(new=pl.lit(value=True)), TIMEFRAME_MS["5m"], 384)
    whole = one_window(candles).select("open_ms", line.alias("whole"))
    both = windows.with_columns(line).filter("new", pl.col("preceding") >= warm).join(whole, on="open_ms")
    assert len(both) > 8_000
    assert both.select((pl.col("supertrend_10_3") / pl.col("whole") - 1).abs().max()).item() < 1e-9


@pytest.mark.parametrize(
    ("name", "params", "complaint"),
    [
        ("macd_trend", {"fast": 30}, "fast 30 < slow 26 < trend 100 must hold"),
        ("macd_trend", {"min_depth_atr": -1}, "min_depth_atr -1: .*greater than or equal to 0"),
        ("supertrend", {"multiple": 0}, "multiple 0: .*greater than or equal to 1"),
        ("bollinger_squeeze", {"period": 4}, "period 4: .*greater than or equal to 5"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(name: str, params: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build(name, params)
