"""Smart money on a drawn market: a swing, an order block, the break that leaves a gap, and the way back into it."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.history import signals_of
from signal_engine.strategies import build
from tocsin_common.events import SignalRaised

Market = Callable[..., pl.DataFrame]

WARM = 400

SWING = [100.4, 100.7, 101.0, 100.6, 100.2, 99.8]
BLOCK = [99.4]
BREAK = [101.4, 101.6, 101.8]
BACK = [101.2, 100.9]
AGAIN = [101.7]

FIELDS_OF = {
    "trend": ind.structure_trend(3),
    "bull_block_low": ind.order_block_bull_low(3),
    "bull_block_high": ind.order_block_bull_high(3),
    "bull_block_bar": ind.order_block_bull_bar(3),
    "bull_gap_low": ind.fvg_bull_low(),
    "bull_gap_high": ind.fvg_bull_high(),
    "bear_block_low": ind.order_block_bear_low(3),
    "bear_block_high": ind.order_block_bear_high(3),
    "bear_block_bar": ind.order_block_bear_bar(3),
    "bear_gap_low": ind.fvg_bear_low(),
    "bear_gap_high": ind.fvg_bear_high(),
}


def drawn(*parts: list[float]) -> list[float]:
    calm = [100 + (0.2 if n % 2 else 0.0) for n in range(WARM)]
    return [*calm, *(price for part in parts for price in part)]


def mirrored(closes: list[float]) -> list[float]:
    return [200 - close for close in closes]


def signals(candles: pl.DataFrame, **params: object) -> list[SignalRaised]:
    return signals_of([build("smart_money", {"stop_atr": 8, **params})], candles)


def test_buys_when_the_price_came_back_into_the_gap_above_an_order_block_and_leaves_it(market: Market) -> None:
    (signal,) = signals(market(drawn(SWING, BLOCK, BREAK, BACK, AGAIN)))
    assert (signal.side, signal.entry) == ("long", 101.7)
    assert signal.features["block_low"] == pytest.approx(99.3)
    assert signal.features["block_high"] == pytest.approx(99.9)
    assert signal.features["gap_low"] == pytest.approx(99.9)
    assert signal.features["gap_high"] == pytest.approx(101.3)
    assert signal.features["block_age"] == 6
    assert signal.stop == pytest.approx(99.3 - 0.25 * signal.features["atr"])
    assert signal.risk is not None
    assert (signal.risk.stop_basis, signal.risk.invalidation) == ("structure", signal.features["block_low"])


def test_sells_in_the_same_market_upside_down(market: Market) -> None:
    (signal,) = signals(market(mirrored(drawn(SWING, BLOCK, BREAK, BACK, AGAIN))))
    assert signal.side == "short"
    assert signal.stop == pytest.approx(100.7 + 0.25 * signal.features["atr"])


def test_a_price_that_never_came_back_is_not_chased(market: Market) -> None:
    assert signals(market(drawn(SWING, BLOCK, BREAK, [102.0, 102.3, 102.6]))) == []


def test_a_gap_that_was_filled_is_none_any_more(market: Market) -> None:
    assert signals(market(drawn(SWING, BLOCK, BREAK, BACK, [99.8], AGAIN))) == []


def test_a_jump_that_broke_no_structure_is_not_enough(market: Market) -> None:
    assert signals(market(drawn(BLOCK, BREAK, BACK, AGAIN))) == []


def test_an_order_block_too_far_away_to_stop_behind_is_no_trade(market: Market) -> None:
    assert signals(market(drawn(SWING, BLOCK, BREAK, BACK, AGAIN)), stop_atr=1) == []


def test_the_landscape_has_the_values_of_the_indicators_it_joins(
    minutes: pl.DataFrame, one_window: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    window = one_window(minutes.filter(pl.col("symbol") == "ETH/USDT").head(2_000))
    joined = window.select(ind.landscape(3)).unnest("landscape_3")
    apart = window.select(expr.alias(name) for name, expr in FIELDS_OF.items())
    assert tuple(joined.columns) == ind.LANDSCAPE_FIELDS
    assert joined.equals(apart, null_equal=True)
    assert all(joined[name].null_count() < len(joined) for name in joined.columns)


def test_a_parameter_out_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"swing 1: .*greater than or equal to 2"):
        build("smart_money", {"swing": 1})
