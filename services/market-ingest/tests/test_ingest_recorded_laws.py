"""What holds in frames that exchanges really sent, and what therefore may be relied on, and what may not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.recorded import SESSIONS, Session, Traded, kraken_v1, payload, read_binance
from tests.recorded.decode import binance

from market_ingest.sources.live.venues import Venue, venue_of
from market_ingest.validate import ACCEPTED, check_trades

BUSY = [name for name in SESSIONS if "aggregated" not in name]
"""Sessions with more than a few trades of a market."""

SKEWED = ["spot_btcusdt_20240808", "spot_ethusdt_20240809", "usdm_btcusdt_20240808", "coinm_btcusd_perp_20240808"]
"""Sessions whose recorder's clock was behind."""


def venue(session: Session) -> Venue:
    """What the live source assumes of a session's exchange."""
    kinds = {_kind(symbol) for symbol in session.symbols.values()}
    [assumed] = {venue_of(session.exchange, {"spot": kind == "spot", "linear": kind == "linear"}) for kind in kinds}
    return assumed


def _kind(symbol: str) -> str:
    pair, _, settle = symbol.partition(":")
    return "spot" if not settle else "linear" if settle.split("-")[0] == pair.split("/")[1] else "inverse"


def by_market(session: Session) -> dict[str, list[Traded]]:
    found: dict[str, list[Traded]] = {}
    for trade in session.trades():
        found.setdefault(trade.market, []).append(trade)
    return found


@pytest.mark.parametrize("name", SESSIONS)
def test_ids_are_of_the_kind_the_live_source_assumes(name: str, shared_data: Path) -> None:
    session = SESSIONS[name](shared_data / "frames")
    for market, trades in by_market(session).items():
        names = [trade.trade_id for trade in trades]
        assert len(set(names)) == len(names), market
        if venue(session).ids == "contiguous":
            numbers = sorted(int(one) for one in names)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), market
        elif venue(session).ids == "increasing":
            numbers = [int(one) for one in names]
            assert numbers == sorted(numbers), market


def test_bybit_has_ids_that_prove_no_gap(shared_data: Path) -> None:
    spot = by_market(SESSIONS["bybit spot"](shared_data / "frames"))
    assert any(int(b.trade_id) > int(a.trade_id) + 1 for some in spot.values() for a, b in pairwise(some))
    linear = by_market(SESSIONS["bybit linear"](shared_data / "frames"))
    assert not any(trade.trade_id.isdigit() for some in linear.values() for trade in some)


@pytest.mark.parametrize("name", [name for name in BUSY if name != "bybit spot"])
def test_times_are_not_unique(name: str, shared_data: Path) -> None:
    markets = by_market(SESSIONS[name](shared_data / "frames")).values()
    assert any(len({trade.ts_ms for trade in trades}) < len(trades) for trades in markets)


def test_coinbase_sends_trades_of_one_message_newest_first(shared_data: Path) -> None:
    session = SESSIONS["coinbase"](shared_data / "frames")
    together = [
        [int(trade.trade_id) for trade in session.decode(msgspec.json.decode(frame))]
        for frames in session.frames.values()
        for frame in frames
    ]
    several = [numbers for numbers in together if len(numbers) > 1]
    assert several
    assert all(numbers == sorted(numbers, reverse=True) for numbers in several)


@pytest.mark.parametrize("name", ["binance spot BTC", "binance spot ETH", "binance USD-M", "binance COIN-M"])
def test_frames_and_the_trades_of_the_same_session_are_equal_id_by_id(name: str, shared_data: Path) -> None:
    session = SESSIONS[name](shared_data / "frames")
    [symbol] = session.symbols.values()
    frames = [(int(one.trade_id), one.ts_ms, one.price, one.amount, one.side) for one in session.trades()]
    stored = pl.read_parquet(shared_data / "trades/binance_btc_eth_2024-08-08.parquet").filter(
        (pl.col("exchange") == session.exchange) & (pl.col("symbol") == symbol)
    )
    columns = ["ts_ms", "price", "amount", "side"]
    rows = stored.select(pl.col("trade_id").cast(pl.Int64), *columns).sort("trade_id").rows()
    numbers = {one[0] for one in frames}
    assert frames == [row for row in rows if row[0] in numbers]


@pytest.mark.parametrize("file", SKEWED)
def test_trades_ahead_of_our_clock_are_let_in(file: str, shared_data: Path) -> None:
    behind_ms, codes = [], set()
    for frame in read_binance(shared_data / f"frames/binance/{file}.gz"):
        for trade in binance(msgspec.json.decode(payload(frame.text))):
            ours_ms = frame.received_ns // 1_000_000
            behind_ms.append(trade.ts_ms - ours_ms)
            columns = (np.array([trade.ts_ms]), np.array([trade.price]), np.array([trade.amount]))
            codes.update(check_trades(*columns, ours_ms).tolist())
    assert min(behind_ms) > 1_000, "the recorder's clock was more than a second behind"
    assert codes == {ACCEPTED}


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("binance USD-M aggregated", "x"),
        ("bybit spot", "confirm"),
        ("bybit linear", "confirm"),
        ("coinbase", None),
        ("kucoin", None),
    ],
)
def test_klines_say_whether_they_are_closed_or_do_not(name: str, flag: str | None, shared_data: Path) -> None:
    session = SESSIONS[name](shared_data / "frames")
    messages = (msgspec.json.decode(frame) for frames in session.frames.values() for frame in frames)
    klines = [kline for message in messages for kline in _klines(message)]
    assert klines
    if flag is None:
        assert not any({"x", "confirm", "closed"} & set(kline) for kline in klines)
    else:
        assert {kline[flag] for kline in klines} == {True, False}


def test_kraken_had_no_ids_in_its_former_protocol(shared_data: Path) -> None:
    trades = kraken_v1(shared_data / "frames").trades()
    assert trades
    assert not any(trade.trade_id for trade in trades)


def _klines(message: dict[str, object]) -> Iterable[dict[str, object]]:
    """The klines of a message of Binance, Bybit, Coinbase or KuCoin."""
    if message.get("e") == "kline":
        return [message["k"]]  # type: ignore[list-item]
    if str(message.get("topic")).startswith("kline."):
        return message["data"]  # type: ignore[return-value]
    if message.get("channel") == "candles":
        return [kline for event in message["events"] for kline in event["candles"]]  # type: ignore[attr-defined]
    if str(message.get("topic")).startswith("/market/candles"):
        return [message["data"]]  # type: ignore[list-item]
    return []
