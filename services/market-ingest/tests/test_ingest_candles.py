"""The rules of closing, and the law that batching does not matter."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.messages import live_trades

from market_ingest.candles import CandleBuilder, Closed, Gap
from market_ingest.columns import CandleRows, Candles, Instrument, Trades, uncounted
from tocsin_common.events import TradesReceived
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

BTC = Instrument("binance", "BTC/USDT")
START_MS = 1_700_006_400_000
"""2023-11-15 00:00 UTC: the beginning of a candle of every timeframe."""

MINUTE_MS = 60_000
LENGTHS_MS = {timeframe: TIMEFRAME_MS[timeframe] for timeframe in TIMEFRAMES}
GAP_MS = 15 * MINUTE_MS

Trade = tuple[int, float, float]
"""Milliseconds since START_MS, price, amount."""

Row = tuple[float, float, float, float, float, int]
"""Open, high, low, close, volume, trades."""


def builder(*, flats_by_clock: bool = False) -> CandleBuilder:
    return CandleBuilder(gap_ms=GAP_MS, grace_ms=2_000, flats_by_clock=flats_by_clock)


def columns(trades: Sequence[Trade]) -> Trades:
    ts_ms, price, amount = zip(*trades, strict=True)
    side = np.full(len(trades), ord("-"), np.uint8)
    return Trades(np.array(ts_ms) + START_MS, np.array(price), np.array(amount), side, [None] * len(trades))


def message(trades: Sequence[Trade]) -> TradesReceived:
    return live_trades(*BTC, ((START_MS + ms, price, amount) for ms, price, amount in trades))


def candles(timeframe: str, rows: Sequence[tuple[int, float, float]]) -> Candles:
    """Flat-bodied candles from (candle number since START_MS, price, volume)."""
    number, price, volume = (np.array(column) for column in zip(*rows, strict=True))
    open_ms = START_MS + number * TIMEFRAME_MS[timeframe]
    return Candles(open_ms, price, price, price, price, volume.astype(float), uncounted(len(rows)))


def table(closed: Closed) -> dict[tuple[str, int], Row]:
    """Everything that closed, by timeframe and open time since START_MS."""
    found: dict[tuple[str, int], Row] = {}
    for rows in closed.candles:
        part = rows.candles
        values = (part.open_ms, part.open, part.high, part.low, part.close, part.volume, part.trades)
        for open_ms, *row in zip(*(column.tolist() for column in values), strict=True):
            key = (rows.timeframe, open_ms - START_MS)
            assert key not in found, f"{key} closed twice"
            found[key] = tuple(row)
    return found


def minutes(closed: Closed) -> dict[int, Row]:
    return {open_ms // MINUTE_MS: row for (timeframe, open_ms), row in table(closed).items() if timeframe == "1m"}


def naive(trades: Sequence[Trade]) -> dict[tuple[str, int], Row]:
    """All candles of trades in time order, worked out by grouping, one timeframe at a time."""
    found: dict[tuple[str, int], Row] = {}
    for timeframe, length_ms in LENGTHS_MS.items():
        groups: dict[int, list[Trade]] = {}
        for trade in trades:
            groups.setdefault(trade[0] // length_ms * length_ms, []).append(trade)
        for open_ms, group in groups.items():
            prices = [price for _, price, _ in group]
            volume = float(sum(Decimal(repr(amount)) for _, _, amount in group))
            found[timeframe, open_ms] = (prices[0], max(prices), min(prices), prices[-1], volume, len(group))
    traded = sorted(open_ms for timeframe, open_ms in found if timeframe == "1m")
    for before, after in itertools.pairwise(traded):
        if after - before - MINUTE_MS > GAP_MS:
            continue
        price = found["1m", before][3]
        for silent_ms in range(before + MINUTE_MS, after, MINUTE_MS):
            for timeframe, length_ms in LENGTHS_MS.items():
                found.setdefault((timeframe, silent_ms // length_ms * length_ms), (price,) * 4 + (0.0, 0))
    return found


def sums_are_short(trades: Sequence[Trade]) -> bool:
    """Whether every exact volume is a decimal that a float64 keeps."""
    for length_ms in LENGTHS_MS.values():
        sums: dict[int, Decimal] = defaultdict(Decimal)
        for ts_ms, _, amount in trades:
            sums[ts_ms // length_ms] += Decimal(repr(amount))
        if any(Decimal(repr(float(total))) != total for total in sums.values()):
            return False
    return True


trade_lists = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 30_000), st.integers(0, 20 * MINUTE_MS), st.integers(0, 7_200_000)),
        st.sampled_from([100.0, 100.5, 99.25, 0.00001234]),
        st.sampled_from([0.1, 0.2, 0.3, 1e-8, 123456.789, 2.5e7, 0.019999999999999997]),
    ),
    min_size=1,
    max_size=60,
)


def in_order(steps: Sequence[Trade]) -> list[Trade]:
    """Trades whose first number is the time since the one before."""
    return [(sum(step[0] for step in steps[: n + 1]), *steps[n][1:]) for n in range(len(steps))]


@settings(max_examples=150, deadline=None)
@given(trade_lists, st.data())
def test_any_batching_and_any_clock_give_the_candles_of_plain_grouping(steps: list[Trade], data: st.DataObject) -> None:
    trades = in_order(steps)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(trades)), max_size=8)) | {0, len(trades)})
    made, out, live = builder(), Closed(), data.draw(st.booleans())
    for first, end in itertools.pairwise(cuts):
        if live:
            made.of(BTC).add_live(message(trades[first:end]), out)
        else:
            made.of(BTC).add_trades(columns(trades[first:end]), out)
        if data.draw(st.booleans()):
            made.advance(START_MS + trades[end - 1][0], out)
    made.finish(out)
    found, expected = table(out), naive(trades)
    if not sums_are_short(trades):  # longer candles add up shorter ones that had to be rounded
        found = {key: row for key, row in found.items() if key[0] == "1m"}
        expected = {key: row for key, row in expected.items() if key[0] == "1m"}
    assert found == expected
    assert out.late == 0


def test_a_minute_closes_with_the_first_trade_after_it() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0), (59_999, 12.0, 0.5)]), out)
    assert not out.candles
    made.of(BTC).add_trades(columns([(60_000, 11.0, 1.0)]), out)
    assert minutes(out) == {0: (10.0, 12.0, 10.0, 12.0, 1.5, 2)}


def test_a_minute_closes_when_the_clock_is_past_its_end_and_the_grace() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0)]), out)
    made.advance(START_MS + MINUTE_MS + 1_999, out)
    assert not out.candles
    made.advance(START_MS + MINUTE_MS + 2_000, out)
    assert list(minutes(out)) == [0]


def test_what_was_over_before_a_restart_closes_with_the_first_live_trade_after_it() -> None:
    made, out = builder(), Closed()
    fourth = CandleRows(BTC, "1m", "trades", candles("1m", [(4, 10.0, 1.0)]))
    made.of(BTC).settle("1m", fourth.candles)
    made.of(BTC).remember_candles(fourth, out)
    made.of(BTC).remember_trades(columns([(5 * MINUTE_MS, 11.0, 1.0)]))
    assert not out.candles
    made.of(BTC).add_live(message([(5 * MINUTE_MS + 1, 12.0, 1.0)]), out)
    assert list(table(out)) == [("5m", 0)]


def test_a_live_trade_of_before_the_open_minute_is_counted_and_changes_nothing() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_live(message([(0, 10.0, 1.0), (60_000, 11.0, 1.0)]), out)
    made.of(BTC).add_live(message([(61_000, 12.0, 1.0), (59_999, 99.0, 9.0)]), out)
    made.finish(out)
    assert minutes(out) == {0: (10.0, 10.0, 10.0, 10.0, 1.0, 1), 1: (11.0, 12.0, 11.0, 12.0, 2.0, 2)}
    assert out.late == 1


def test_a_trade_of_a_closed_minute_is_counted_and_changes_nothing() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0), (60_000, 11.0, 1.0), (30_000, 99.0, 9.0)]), out)
    made.of(BTC).add_trades(columns([(59_999, 99.0, 9.0), (61_000, 12.0, 1.0)]), out)
    made.finish(out)
    assert out.late == 2
    assert minutes(out) == {0: (10.0, 10.0, 10.0, 10.0, 1.0, 1), 1: (11.0, 12.0, 11.0, 12.0, 2.0, 2)}


def test_a_longer_candle_closes_with_its_last_minute() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0), (4 * MINUTE_MS, 11.0, 1.0)]), out)
    made.of(BTC).add_trades(columns([(5 * MINUTE_MS, 12.0, 1.0)]), out)
    assert table(out)["5m", 0] == (10.0, 11.0, 10.0, 11.0, 2.0, 2)


def test_silence_up_to_the_bound_is_flat_and_beyond_it_a_gap() -> None:
    after = 16 * MINUTE_MS
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0), (after, 11.0, 1.0), (2 * after + MINUTE_MS, 12.0, 1.0)]), out)
    made.finish(out)
    flat = (10.0, 10.0, 10.0, 10.0, 0.0, 0)
    assert [number for number, row in minutes(out).items() if row == flat] == list(range(1, 16))
    assert sorted(minutes(out)) == [*range(17), 33]
    assert out.gaps == [Gap(BTC, START_MS + 17 * MINUTE_MS, START_MS + 33 * MINUTE_MS)]


def test_flat_minutes_do_not_shape_a_longer_candle_that_traded() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0), (7 * MINUTE_MS, 20.0, 1.0)]), out)
    made.finish(out)
    assert table(out)["5m", 5 * MINUTE_MS] == (20.0, 20.0, 20.0, 20.0, 1.0, 1)


def test_a_quiet_live_market_gets_flat_minutes_from_the_clock() -> None:
    made, out = builder(flats_by_clock=True), Closed()
    made.of(BTC).add_trades(columns([(0, 10.0, 1.0)]), out)
    for minute in range(1, 7):
        made.advance(START_MS + minute * MINUTE_MS + 2_000, out)
    assert [row[4] for row in minutes(out).values()] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    made.of(BTC).add_trades(columns([(8 * MINUTE_MS, 11.0, 1.0)]), out)
    assert sorted(minutes(out)) == list(range(8))
    assert not out.gaps


def test_longer_candles_come_from_candle_files_too() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_candles("5m", "exchange", candles("5m", [(0, 10.0, 0.1), (1, 11.0, 0.2), (3, 9.0, 0.3)]), out)
    made.finish(out)
    found = table(out)
    assert found["15m", 0] == (10.0, 11.0, 10.0, 11.0, 0.3, -1)
    assert found["1h", 0] == (10.0, 11.0, 9.0, 9.0, 0.6, -1)
    assert {rows.origin for rows in out.candles} == {"exchange"}


def test_a_candle_that_comes_closed_takes_the_place_of_the_one_being_made() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_candles("5m", "exchange", candles("5m", [(n, 10.0, 1.0) for n in range(11)]), out)
    made.of(BTC).add_candles("1h", "exchange", candles("1h", [(0, 50.0, 7.0)]), out)
    made.of(BTC).add_candles("5m", "exchange", candles("5m", [(11, 10.0, 1.0), (12, 10.0, 1.0)]), out)
    made.finish(out)
    assert table(out)["1h", 0][4] == 7.0
    assert table(out)["4h", 0][4] == 8.0


def test_a_candle_given_twice_closes_once() -> None:
    made, out = builder(), Closed()
    made.of(BTC).add_candles("1m", "exchange", candles("1m", [(0, 10.0, 1.0), (1, 11.0, 1.0)]), out)
    made.of(BTC).add_candles("1m", "exchange", candles("1m", [(1, 99.0, 9.0), (2, 12.0, 1.0)]), out)
    assert [row[3] for row in minutes(out).values()] == [10.0, 11.0, 12.0]
    assert out.repeated == 1
