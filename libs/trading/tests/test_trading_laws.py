"""The laws of the trading domain: money is conserved, and columns say what a row-by-row reading says."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_common.events import Side
from tocsin_trading.exits import Touch, first_touch
from tocsin_trading.ledger import Ledger, worsened
from tocsin_trading.money import AMOUNT_STEP, market_decimal, to_amount
from tocsin_trading.outcomes import Excursion, measure
from tocsin_trading.prices import PricePath, concatenate, from_candles, from_trades, tick_of_clock, tick_of_trade

MINUTE_MS = 60_000

amounts = st.decimals(-1000, 1000, places=8).filter(bool)
prices = st.floats(1e-9, 1e6, allow_nan=False).map(market_decimal)
rates = st.decimals(0, Decimal("0.1"), places=5)
fills = st.lists(st.tuples(st.sampled_from(["A", "B"]), amounts, prices, rates), max_size=30)


@given(fills, prices, prices)
def test_equity_is_starting_cash_plus_all_profit_minus_all_fees_to_the_last_decimal(
    trades: list[tuple[str, Decimal, Decimal, Decimal]], mark_a: Decimal, mark_b: Decimal
) -> None:
    ledger = Ledger(Decimal(10_000))
    marks = {"A": mark_a, "B": mark_b}
    with localcontext() as context:
        context.prec = 500
        paid = realised = Decimal(0)
        for instrument, amount, price, rate in trades:
            fee = abs(amount) * price * rate
            paid += fee
            realised += ledger.fill(instrument, amount, price, fee)
        unrealised = sum(p.amount * marks[name] - p.cost for name, p in ledger.positions.items())
        assert ledger.equity(marks) == 10_000 + realised + unrealised - paid
        assert ledger.equity(marks) == ledger.cash + sum(ledger.values(marks).values())


@given(amounts, prices, prices)
def test_a_round_trip_earns_amount_times_price_difference(amount: Decimal, entry: Decimal, leave: Decimal) -> None:
    ledger = Ledger(Decimal(0))
    assert ledger.fill("A", amount, entry, Decimal(0)) == 0
    assert ledger.positions["A"].entry_price == entry
    realised = ledger.fill("A", amount.copy_negate(), leave, Decimal(0))
    with localcontext() as context:
        context.prec = 500
        assert realised == amount * (leave - entry)
    assert ledger.cash == realised
    assert not ledger.positions


def test_turning_a_position_around_realises_the_old_and_opens_the_new() -> None:
    ledger = Ledger(Decimal(1000))
    ledger.fill("A", Decimal(2), Decimal(10), Decimal(0))
    assert ledger.fill("A", Decimal(-5), Decimal(11), Decimal(0)) == 2
    assert ledger.positions["A"].amount == -3
    assert ledger.positions["A"].entry_price == 11


def test_the_average_entry_price_counts_every_part() -> None:
    ledger = Ledger(Decimal(1000))
    ledger.fill("A", Decimal(1), Decimal(10), Decimal(0))
    ledger.fill("A", Decimal(3), Decimal(20), Decimal(0))
    assert ledger.positions["A"].entry_price == Decimal("17.5")


@given(prices, rates, st.booleans())
def test_slippage_is_never_in_the_traders_favour(price: Decimal, rate: Decimal, buying: bool) -> None:
    filled = worsened(price, rate, buying=buying)
    assert filled >= price if buying else filled <= price
    assert len(filled.as_tuple().digits) <= 17


@given(st.decimals(-(10**9), 10**9, allow_nan=False))
def test_amounts_are_cut_towards_zero(quantity: Decimal) -> None:
    cut = to_amount(quantity)
    assert cut.copy_abs() <= quantity.copy_abs() < cut.copy_abs() + AMOUNT_STEP


@given(st.floats(1e-12, 1e12))
def test_a_market_price_becomes_the_decimal_that_reads_back_the_same(price: float) -> None:
    assert float(market_decimal(price)) == price


# Price paths


def path_of(bars: bytes, ticks: bytes) -> PricePath:
    """A short path on a coarse grid of prices, so that levels are often touched exactly: candles, then trades."""
    grid = np.frombuffer(bars, dtype=np.uint8)[: len(bars) // 4 * 4].reshape(-1, 4) % 12 + 1.0
    minutes = np.arange(len(grid), dtype=np.int64) * MINUTE_MS
    lengths = np.full(len(grid), MINUTE_MS, dtype=np.int64)
    candles = from_candles(minutes, lengths, grid[:, 0], grid.max(axis=1), grid.min(axis=1), grid[:, 3])
    traded = np.frombuffer(ticks, dtype=np.uint8)
    at_ms = len(grid) * MINUTE_MS + (traded % 3).astype(np.int64).cumsum()
    return concatenate(candles, from_trades(at_ms, traded % 12 + 1.0))


paths = st.builds(path_of, st.binary(min_size=8, max_size=48), st.binary(min_size=1, max_size=12))
sides: st.SearchStrategy[Side] = st.sampled_from(["long", "short"])


def slow_touch(path: PricePath, start: int, end: int, side: Side, stop: float, target: float) -> Touch | None:
    """The first touch, one row after the other."""
    for row in range(start, end):
        low, high = float(path.low[row]), float(path.high[row])
        stopped = low <= stop if side == "long" else high >= stop
        reached = high >= target if side == "long" else low <= target
        if stopped:
            return Touch(row, "stop", low if low == high else stop)
        if reached:
            return Touch(row, "target", low if low == high else target)
    return None


@settings(max_examples=300)
@given(paths, st.data(), sides, st.floats(0.5, 12.5), st.floats(0.5, 12.5))
def test_the_first_touch_is_that_of_a_row_by_row_search(
    path: PricePath, data: Any, side: Side, stop: float, target: float
) -> None:
    start = data.draw(st.integers(0, len(path)))
    end = data.draw(st.integers(start, len(path)))
    assert first_touch(path, slice(start, end), side, stop, target) == slow_touch(path, start, end, side, stop, target)


@given(paths, st.data(), sides)
def test_a_path_looked_at_in_pieces_shows_the_same_as_a_whole(path: PricePath, data: Any, side: Side) -> None:
    cut = data.draw(st.integers(0, len(path)))
    whole, parts = Excursion(5.0, 5.0), Excursion(5.0, 5.0)
    whole.include(path, slice(0, len(path)))
    parts.include(path, slice(0, cut))
    parts.include(path, slice(cut, len(path)))
    assert parts == whole
    stop, target = (2.0, 9.0) if side == "long" else (9.0, 2.0)
    found = [first_touch(path, rows, side, stop, target) for rows in (slice(0, cut), slice(cut, len(path)))]
    first = next((touch for touch in found if touch is not None), None)
    assert first == first_touch(path, slice(0, len(path)), side, stop, target)


@given(paths)
def test_a_path_is_in_order_and_every_row_lies_between_its_low_and_high(path: PricePath) -> None:
    assert (np.diff(path.tick) >= 0).all()
    assert (np.diff(path.since_ms) >= 0).all()
    assert ((path.low <= path.last) & (path.last <= path.high)).all()


# The conservative reading


def one_candle(open_: float, high: float, low: float, close: float) -> PricePath:
    columns = (np.array([value]) for value in (open_, high, low, close))
    return from_candles(np.array([0], dtype=np.int64), np.array([MINUTE_MS], dtype=np.int64), *columns)


def touch(path: PricePath, side: Side, stop: float, target: float) -> Touch | None:
    return first_touch(path, slice(0, len(path)), side, stop, target)


def test_a_candle_that_touches_both_counts_as_the_stop() -> None:
    assert touch(one_candle(10, 12, 8, 11), "long", 9, 11) == Touch(1, "stop", 9)
    assert touch(one_candle(10, 12, 8, 11), "short", 11, 9) == Touch(1, "stop", 11)


def test_a_gap_through_the_stop_leaves_at_the_open() -> None:
    assert touch(one_candle(7, 12, 6, 11), "long", 9, 11) == Touch(0, "stop", 7)


def test_inside_a_candle_the_level_is_the_price() -> None:
    assert touch(one_candle(10, 12, 9.5, 11), "long", 9, 11) == Touch(1, "target", 11)


def test_a_trade_leaves_at_its_own_price() -> None:
    path = from_trades(np.array([1, 2], dtype=np.int64), np.array([10.0, 8.5]))
    assert touch(path, "long", 9, 11) == Touch(1, "stop", 8.5)


def test_a_candle_is_known_when_it_closes_and_before_what_happens_then() -> None:
    path = one_candle(10, 12, 8, 11)
    assert path.rows_through(tick_of_trade(MINUTE_MS - 1)) == 0
    assert path.rows_before(tick_of_clock(MINUTE_MS)) == 2
    assert [path.event_ms(row) for row in range(2)] == [0, MINUTE_MS - 1]


@pytest.mark.parametrize(("side", "sign"), [("long", 1), ("short", -1)])
def test_an_outcome_is_measured_in_multiples_of_the_risk(side: Side, sign: int) -> None:
    entry, stop, targets = 100.0, 100.0 - 10 * sign, [100.0 + 10 * sign, 100.0 + 20 * sign]
    low, high = sorted((100.0 - 5 * sign, 100.0 + 15 * sign))
    found = measure(side, entry, stop, targets, Excursion(low, high), 100.0 + 2.5 * sign)
    assert (found.r_multiple, found.mfe_r, found.mae_r, found.targets_hit) == (0.25, 1.5, -0.5, 1)


def test_the_row_that_stops_shows_nothing_favourable_and_that_of_the_target_all_that_is_adverse() -> None:
    candle = one_candle(10, 12, 8, 11)
    stopped, reached = Excursion(10, 10), Excursion(10, 10)
    stopped.include_end(candle, Touch(1, "stop", 9), "long")
    reached.include_end(candle, Touch(1, "target", 11), "long")
    assert stopped == Excursion(9, 10)
    assert reached == Excursion(8, 11)
