"""VWAP reversion: back towards the day's average price."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from signal_engine.history import signals_of
from signal_engine.strategies import build
from tocsin_common.events import SignalRaised

Market = Callable[..., pl.DataFrame]

HOUR_MS = 3_600_000
DAYS = 17
LEVEL = 100.0


def signals(candles: pl.DataFrame, **params: object) -> list[SignalRaised]:
    return signals_of([build("vwap_reversion", params)], candles)


def stretched(hour: int, side: int = 1) -> list[float]:
    """Calm days, then four candles away from the price until `hour` of the last day, and a turn back."""
    calm = [LEVEL + (0.2 if n % 2 else 0.0) for n in range(24 * DAYS + hour - 4)]
    return [*calm, *(LEVEL - side * step for step in (1, 2, 3, 4, 2.7, 2.5))]


def test_buys_when_the_price_turns_far_below_the_days_vwap(market: Market) -> None:
    (signal,) = signals(market(stretched(hour=20)))
    assert signal.side == "long"
    assert signal.entry == LEVEL - 2.7
    assert signal.candle_open_ms == (24 * DAYS + 20) * HOUR_MS
    assert signal.features["stretch"] > 0.6
    assert signal.targets[0] < signal.features["vwap"] < LEVEL + 0.2
    assert signal.reasons[0].endswith(f"below the day's VWAP ({signal.features['vwap']:.6g})")


def test_sells_when_the_price_turns_far_above_the_days_vwap(market: Market) -> None:
    (signal,) = signals(market(stretched(hour=20, side=-1)))
    assert signal.side == "short"
    assert signal.targets[0] > signal.features["vwap"]


def test_waits_until_the_day_is_old_enough_to_have_an_average(market: Market) -> None:
    assert signals(market(stretched(hour=6)), stretch=0.4)
    assert signals(market(stretched(hour=6)), stretch=0.4, min_session_hours=8) == []


def test_leaves_a_price_alone_that_has_no_way_to_go(market: Market) -> None:
    assert signals(market(stretched(hour=20)), targets_r=[10]) == []


def test_leaves_a_price_alone_that_was_not_far_enough_away(market: Market) -> None:
    assert signals(market(stretched(hour=20)), stretch=3) == []


def test_judges_only_timeframes_of_which_it_has_the_whole_day(market: Market) -> None:
    assert signals(market(stretched(hour=20), timeframe="4h")) == []
    assert build("vwap_reversion").warm_up_candles >= 24 * 60 // 5


def test_a_parameter_out_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_session_hours 4: .*greater than or equal to 5"):
        build("vwap_reversion", {"min_session_hours": 4})
