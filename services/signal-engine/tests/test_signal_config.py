"""The section `signal_engine`."""

from __future__ import annotations

import pytest

from signal_engine.config import Settings, SignalEngineSection
from signal_engine.risk import Sizing
from signal_engine.strategies import BY_DEFAULT
from tocsin_common.config import load
from tocsin_common.errors import ConfigError


def section(**keys: str) -> SignalEngineSection:
    return load(Settings, environ={f"TOCSIN__SIGNAL_ENGINE__{key}": text for key, text in keys.items()}).signal_engine


def problems(**keys: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        section(**keys)
    return caught.value.problems


def test_by_default_all_strategies_run_on_everything_from_five_minutes_up() -> None:
    assert [strategy.instance for strategy in section().build()] == list(BY_DEFAULT)
    assert section().timeframes == ["5m", "15m", "1h", "4h"]
    assert section().risk.sizing() == Sizing()
    assert section().indicators == []


def test_variants_run_side_by_side_under_names_of_their_own() -> None:
    chosen = "[{name: ema_cross, as: quick, params: {fast: 5, slow: 20}, timeframes: [1m]}, {name: ema_cross}]"
    quick, plain = section(STRATEGIES=chosen, TIMEFRAMES="[1m, 5m]").build()
    assert (quick.instance, quick.name, quick.params.slow, quick.timeframes) == ("quick", "ema_cross", 20, ("1m",))
    assert (plain.instance, plain.name, plain.params.slow, plain.timeframes) == ("ema_cross", "ema_cross", 26, ())


def test_sizes_are_for_the_money_that_is_configured() -> None:
    sizing = section(RISK="{equity: 500, risk_percent: 0.5, leverage_max: 3}").risk.sizing()
    assert sizing == Sizing(equity=500, risk_percent=0.5, leverage_max=3)


@pytest.mark.parametrize(
    ("strategies", "complaint"),
    [
        ("[{name: astrology}]", "strategies.0: there is no strategy 'astrology'; the strategies are bollinger_squeeze"),
        ("[{name: ema_cross, params: {fast: 0}}]", "strategies.0: fast 0: input should be greater than or equal to 2"),
        ("[{name: ema_cross}, {name: ema_cross}]", "strategies.1: another strategy runs under the name 'ema_cross'"),
        ("[{name: ema_cross}, {name: rsi_reversion, as: ema_cross}]", "strategies.1: another strategy runs under the"),
        ("[{name: ema_cross, as: a b}]", "strategies.0.as: 'a b' is wrong: string should match pattern"),
        ("[{name: ema_cross, timeframes: [1h]}]", "strategies.0: 1h: not among the timeframes of the section"),
        ("[{name: confluence, timeframes: [5m]}]", "strategies.0: confluence is made for 15m, not for 5m"),
        ("[]", "strategies: list should have at least 1 item"),
    ],
)
def test_a_wrong_strategy_is_reported_with_key_value_and_expectation(strategies: str, complaint: str) -> None:
    (problem,) = problems(STRATEGIES=strategies, TIMEFRAMES="[5m, 15m]")
    assert problem.startswith(f"signal_engine.{complaint}")


def test_all_mistakes_are_told_at_once() -> None:
    told = problems(
        STRATEGIES="[{name: astrology}, {name: ema_cross, params: {fast: 0}}, {name: ema_cross}, {name: ema_cross}]",
        TIMEFRAMES="[2m]",
        INDICATORS="[rsi_14, moon_28, ema_9000]",
        STRATEGIES_FOLDER="no/such/folder",
        RISK="{equity: 0}",
    )
    assert [problem.split(":")[0] for problem in told] == [
        "signal_engine.strategies_folder",
        "signal_engine.timeframes.0",
        "signal_engine.strategies.1",
        "signal_engine.strategies.2",
        "signal_engine.strategies.3",
        "signal_engine.risk.equity",
        "signal_engine.indicators.1",
        "signal_engine.indicators.2",
    ]
    assert "there is no indicator behind the column 'moon_28'; there are adx_14, atr_14" in told[6]
