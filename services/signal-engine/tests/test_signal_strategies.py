"""Each strategy on candles where a trader knows the answer, and its parameters."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from signal_engine.history import signals_of
from signal_engine.strategies import STRATEGIES, build
from tocsin_common.events import SignalRaised

Market = Callable[..., pl.DataFrame]

HOUR_MS = 3_600_000

WARM = 400
"""Candles after which every strategy may fire."""


def only_signal(name: str, candles: pl.DataFrame, **params: object) -> SignalRaised:
    (signal,) = signals_of([build(name, params)], candles)
    return signal


def zigzag(price: float, candles: int) -> list[float]:
    return [price + (0.2 if n % 2 else 0.0) for n in range(candles)]


def test_donchian_breaks_out_once_when_a_close_leaves_the_channel_on_volume(market: Market) -> None:
    closes = [*zigzag(100, WARM), 103.0, 103.5, 104.0]
    signal = only_signal("donchian_breakout", market(closes, {WARM: 5.0}))
    assert (signal.side, signal.entry, signal.candle_open_ms) == ("long", 103.0, WARM * HOUR_MS)
    assert signal.confirmed_ms == (WARM + 1) * HOUR_MS
    assert signal.expires_ms == (WARM + 1 + 48) * HOUR_MS
    assert signal.stop < signal.entry < signal.targets[0] < signal.targets[1] < signal.targets[2]
    risk = signal.entry - signal.stop
    assert signal.targets == pytest.approx([103 + risk, 103 + 2 * risk, 103 + 3 * risk])
    assert signal.reasons[0].startswith("close 103 is above the high of 55 candles (100.3) by")


def test_donchian_does_not_trust_a_breakout_without_volume(market: Market) -> None:
    assert signals_of([build("donchian_breakout")], market([*zigzag(100, WARM), 103.0])) == []


def test_donchian_goes_short_below_the_channel(market: Market) -> None:
    signal = only_signal("donchian_breakout", market([*zigzag(100, WARM), 97.0], {WARM: 5.0}))
    assert signal.side == "short"
    assert signal.stop > signal.entry > signal.targets[0]


def test_ema_cross_goes_long_when_an_uptrend_resumes_after_a_dip(market: Market) -> None:
    rise = [100 + 0.3 * n for n in range(WARM)]
    dip = [rise[-1] - 0.6 * n for n in range(1, 16)]
    again = [dip[-1] + 0.8 * n for n in range(1, 20)]
    signals = signals_of([build("ema_cross")], market([*rise, *dip, *again]))
    assert [signal.side for signal in signals] == ["long"]
    assert signals[0].candle_open_ms >= (WARM + 15) * HOUR_MS


def test_ema_cross_ignores_a_cross_against_the_trend(market: Market) -> None:
    fall = [400 - 0.3 * n for n in range(WARM)]
    bounce = [fall[-1] + 0.5 * n for n in range(1, 15)]
    assert signals_of([build("ema_cross")], market([*fall, *bounce])) == []


def test_rsi_reversion_buys_when_the_rsi_comes_back_from_a_crash(market: Market) -> None:
    crash = [100 - 1.5 * n for n in range(1, 12)]
    signal = only_signal("rsi_reversion", market([*zigzag(100, WARM), *crash, *(86 + n for n in range(12))]), depth=10)
    assert signal.side == "long"
    assert signal.features["rsi_extreme"] <= 20
    assert signal.features["rsi"] > 30
    assert 40 <= signal.confidence <= 100


def test_nothing_fires_in_a_market_that_stands_still(market: Market) -> None:
    still = market([100.0] * 400).with_columns(high=pl.lit(100.0), low=pl.lit(100.0), volume=pl.lit(0.0))
    assert signals_of([build(name) for name in STRATEGIES], still) == []


def test_a_shorts_targets_below_zero_are_left_out(market: Market) -> None:
    closes = [*zigzag(100, WARM), 20.0]
    signal = only_signal("donchian_breakout", market(closes, {WARM: 5.0}), stop_atr=0.5, targets_r=[1, 20])
    assert len(signal.targets) == 1
    assert signal.targets[0] > 0


def test_what_a_parameter_may_not_be_is_said_with_its_name_and_value() -> None:
    with pytest.raises(
        ValueError, match=r"channel 4: .*greater than or equal to 5.*; colour: there is no such parameter"
    ):
        build("donchian_breakout", {"channel": 4, "colour": "red"})
    with pytest.raises(ValueError, match="fast 30 < slow 26 < trend 100 must hold"):
        build("ema_cross", {"fast": 30})
    with pytest.raises(ValueError, match="must ascend"):
        build("ema_cross", {"targets_r": [2, 1]})


def test_an_unknown_strategy_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="donchian_breakout, ema_cross, macd_trend"):
        build("astrology")


def test_the_params_hash_follows_the_values_and_nothing_else() -> None:
    assert build("ema_cross").params_hash == build("ema_cross", {"slow": 26, "fast": 12}).params_hash
    assert build("ema_cross").params_hash != build("ema_cross", {"fast": 11}).params_hash
    assert build("ema_cross", {"stop_atr": 3}).params_hash == build("ema_cross", {"stop_atr": 3.0}).params_hash
