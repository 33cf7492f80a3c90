"""The section `signal_engine`."""

from __future__ import annotations

import pytest

from signal_engine.config import Settings
from tocsin_common.config import load
from tocsin_common.errors import ConfigError


def test_by_default_all_strategies_run_on_everything_from_five_minutes_up() -> None:
    section = load(Settings, environ={}).signal_engine
    assert [choice.name for choice in section.strategies] == ["ema_cross", "rsi_reversion", "donchian_breakout"]
    assert section.timeframes == ["5m", "15m", "1h", "4h"]


def test_strategies_and_timeframes_can_be_set() -> None:
    environ = {
        "TOCSIN__SIGNAL_ENGINE__STRATEGIES": "[{name: ema_cross, params: {fast: 5, slow: 20}}, {name: ema_cross}]",
        "TOCSIN__SIGNAL_ENGINE__TIMEFRAMES": "[1m]",
    }
    section = load(Settings, environ=environ).signal_engine
    assert [choice.build().params.slow for choice in section.strategies] == [20, 26]
    assert section.timeframes == ["1m"]


@pytest.mark.parametrize(
    ("strategies", "complaint"),
    [
        ("[{name: astrology}]", "there is no strategy 'astrology'"),
        ("[{name: ema_cross, params: {fast: 0}}]", "fast 0: input should be greater than or equal to 2"),
        ("[{name: ema_cross}, {name: ema_cross}]", "listed twice"),
        ("[]", "at least 1 item"),
    ],
)
def test_a_wrong_strategy_is_reported_with_key_value_and_expectation(strategies: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(Settings, environ={"TOCSIN__SIGNAL_ENGINE__STRATEGIES": strategies})
    assert "signal_engine.strategies" in str(caught.value)
