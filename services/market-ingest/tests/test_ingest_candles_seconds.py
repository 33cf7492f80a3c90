"""Candles of one second: beside the longer ones, which are the same with and without them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.messages import live_trades

from market_ingest.candles import CandleBuilder, Closed
from market_ingest.columns import Instrument, Trades
from market_ingest.config import IngestSection
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

BTC = Instrument("binance", "BTC/USDT")
START_MS = 1_700_006_400_000

Trade = tuple[int, float, float]
"""Milliseconds, price, amount."""

Row = tuple[float, float, float, float, float, int]


def builder(*, seconds: bool, flats_by_clock: bool = False, gap_ms: int = 900_000) -> CandleBuilder:
    timeframes = tuple(TIMEFRAME_MS) if seconds else TIMEFRAMES
    return CandleBuilder(gap_ms=gap_ms, grace_ms=2_000, flats_by_clock=flats_by_clock, timeframes=timeframes)


def columns(trades: Sequence[Trade]) -> Trades:
    ts_ms, price, amount = (np.array(column) for column in zip(*trades, strict=True))
    return Trades(ts_ms, price, amount, np.full(len(trades), ord("-"), np.uint8), [None] * len(trades))


def table(closed: Closed) -> dict[tuple[str, int], Row]:
    """Everything that closed, by timeframe and open time."""
    found: dict[tuple[str, int], Row] = {}
    for rows in closed.candles:
        for number in range(len(rows.candles)):
            open_ms, *row = rows.candles.row(number)
            assert (rows.timeframe, open_ms) not in found, f"{rows.timeframe} {open_ms} closed twice"
            found[rows.timeframe, open_ms] = tuple(row)
    return found


def without_seconds(found: dict[tuple[str, int], Row]) -> dict[tuple[str, int], Row]:
    return {key: row for key, row in found.items() if key[0] != "1s"}


def naive(trades: Sequence[Trade], gap_ms: int) -> dict[int, Row]:
    """Seconds by grouping, with flat ones for silence up to the bound."""
    groups: dict[int, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(trade[0] // 1000 * 1000, []).append(trade)
    found: dict[int, Row] = {}
    for open_ms, group in groups.items():
        prices = [price for _, price, _ in group]
        volume = float(sum(amount for _, _, amount in group))
        found[open_ms] = (prices[0], max(prices), min(prices), prices[-1], volume, len(group))
    for before, after in itertools.pairwise(sorted(groups)):
        if after - before - 1000 <= gap_ms:
            price = found[before][3]
            for silent_ms in range(before + 1000, after, 1000):
                found[silent_ms] = (price, price, price, price, 0.0, 0)
    return found


@pytest.fixture(scope="module")
def real_trades(shared_data: Path) -> list[Trade]:
    """An hour of a market with pauses and bursts."""
    frame = pl.read_parquet(shared_data / "trades" / "binance_trx_2025-03-04.parquet").sort(
        "ts_ms", maintain_order=True
    )
    frame = frame.filter(pl.col("symbol") == frame["symbol"][0])
    return frame.select("ts_ms", "price", "amount").head(6000).rows()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_longer_candles_are_the_same_with_and_without_seconds(real_trades: list[Trade], data: st.DataObject) -> None:
    """Real trades, some of them out of order, in any batches, live or not, with any look at the clock."""
    first = data.draw(st.integers(0, len(real_trades) - 600))
    trades = real_trades[first : first + 600]
    for place in data.draw(st.sets(st.integers(1, len(trades) - 1), max_size=20)):
        trades[place - 1], trades[place] = trades[place], trades[place - 1]
    live = data.draw(st.booleans())
    plain, fine = (builder(seconds=seconds, flats_by_clock=live) for seconds in (False, True))
    one, other = Closed(), Closed()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(trades)), max_size=12)) | {0, len(trades)})
    for begin, end in itertools.pairwise(cuts):
        looks = data.draw(st.booleans())
        for made, out in ((plain, one), (fine, other)):
            made.of(BTC).add_trades(columns(trades[begin:end]), out)
            if looks:
                made.advance(trades[end - 1][0] + 2_000, out)
    for made, out in ((plain, one), (fine, other)):
        made.finish(out)
    assert without_seconds(table(other)) == table(one)
    assert one.late == other.late
    assert one.gaps == other.gaps


steps = st.lists(st.sampled_from([0, 1, 999, 1_000, 2_500, 30_000, 61_000]), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(steps, st.data())
def test_seconds_are_what_grouping_gives(steps: list[int], data: st.DataObject) -> None:
    trades = [(START_MS + ms, 10.0 + number % 3, 1.0) for number, ms in enumerate(itertools.accumulate(steps))]
    made, out = builder(seconds=True, gap_ms=20_000), Closed()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(trades)), max_size=6)) | {0, len(trades)})
    for begin, end in itertools.pairwise(cuts):
        made.of(BTC).add_live(live_trades(*BTC, trades[begin:end]), out)
        if data.draw(st.booleans()):
            made.advance(trades[end - 1][0], out)
    made.finish(out)
    seconds = {open_ms: row for (timeframe, open_ms), row in table(out).items() if timeframe == "1s"}
    assert seconds == naive(trades, 20_000)


def test_the_clock_closes_a_second_after_the_grace_and_fills_the_silence_of_a_live_feed() -> None:
    made, out = builder(seconds=True, flats_by_clock=True), Closed()
    made.of(BTC).add_trades(columns([(START_MS + 100, 10.0, 1.0)]), out)
    made.advance(START_MS + 2_999, out)
    assert not out.candles
    made.advance(START_MS + 5_000, out)
    assert list(table(out)) == [("1s", START_MS), ("1s", START_MS + 1_000), ("1s", START_MS + 2_000)]


def test_there_is_no_second_across_a_gap() -> None:
    made, out = builder(seconds=True, flats_by_clock=True), Closed()
    made.of(BTC).add_trades(columns([(START_MS, 10.0, 1.0)]), out)
    made.interrupt("binance")
    made.advance(START_MS + 30_000, out)
    assert not out.candles
    made.resume(BTC, whole=False)
    made.of(BTC).add_trades(columns([(START_MS + 30_000, 11.0, 1.0), (START_MS + 31_000, 12.0, 1.0)]), out)
    assert list(table(out)) == [("1s", START_MS), ("1s", START_MS + 30_000)]
    assert not out.gaps, "the minute has both ends of the gap, so no minute is missing"


def test_seconds_go_on_after_a_restart() -> None:
    trades = [(START_MS, 10.0, 1.0), (START_MS + 1_500, 11.0, 1.0), (START_MS + 3_000, 12.0, 1.0)]
    whole, all_of_it = builder(seconds=True), Closed()
    whole.of(BTC).add_trades(columns([*trades, (START_MS + 5_000, 13.0, 1.0)]), all_of_it)
    before, stored = builder(seconds=True), Closed()
    before.of(BTC).add_trades(columns(trades), stored)
    after, rest = builder(seconds=True), Closed()
    for rows in stored.candles:
        after.of(BTC).settle(rows.timeframe, rows.candles)
        after.of(BTC).remember_candles(rows, rest)
    after.of(BTC).remember_trades(columns(trades))
    after.of(BTC).add_trades(columns([(START_MS + 5_000, 13.0, 1.0)]), rest)
    assert {**table(stored), **table(rest)} == table(all_of_it)
    assert table(stored).keys().isdisjoint(table(rest))


def test_only_seconds_may_be_added_or_left_out() -> None:
    assert "1s" not in IngestSection().timeframes
    assert IngestSection(timeframes=[*TIMEFRAMES, "1s"]).timeframes == list(TIMEFRAME_MS)
    with pytest.raises(ValidationError, match="4h cannot be left out"):
        IngestSection(timeframes=["1s", "1m", "5m", "15m", "1h", "1d"])
