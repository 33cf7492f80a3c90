"""Frames that are read without ccxt mean what ccxt takes them for."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exchange import BinanceExchange, Row, Spoil
from tests.recorded.recording import payload, read_binance

from market_ingest.sources.live import frames
from market_ingest.sources.live.exchange import spare_what_nobody_reads
from market_ingest.sources.live.rows import row_of
from market_ingest.sources.live.venues import venue_of
from tocsin_common.bus.memory import MemoryBus

VENUE = venue_of("binance", {"spot": True})
NOW_MS = 1_800_000_000_000
SYMBOL = "BTC/USDT"
PATIENCE_S = 60.0

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.decimals(0, 10**9, places=8).map(str),
    st.lists(st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def ccxt_binance() -> Any:
    exchange = importlib.import_module("ccxt.pro").binance()
    spare_what_nobody_reads(exchange)
    return exchange


def frame(**changed: Any) -> dict[str, Any]:
    """A frame as Binance sends it, with other values."""
    values = {"s": "BTCUSDT", "t": 7, "p": "64000.10", "q": "0.25", "T": NOW_MS - 9, "m": True}
    return {"e": "trade", "E": NOW_MS, **values, "M": True, **changed}


def assert_same(text: str, exchange: Any) -> None:
    """What was found in a frame is what ccxt finds there; of what may not be published, that it may not, and why."""
    found = frames.binance(text)
    assert found is not None
    market, trade = found
    told = json.loads(text)
    assert market == told["s"]
    row = row_of(trade, VENUE, NOW_MS, live=True)
    theirs = row_of(exchange.parse_ws_trade(told), VENUE, NOW_MS, live=True)
    assert row.refused == theirs.refused
    assert row.refused or row == theirs


@pytest.mark.parametrize("session", ["spot_btcusdt_20240808", "usdm_btcusdt_20240808", "coinm_btcusd_perp_20240808"])
def test_every_trade_of_a_recorded_session_is_read_without_ccxt(
    session: str, shared_data: Path, ccxt_binance: Any
) -> None:
    texts = [payload(received.text) for received in read_binance(shared_data / f"frames/binance/{session}.gz")]
    traded = [text for text in texts if '"e":"trade"' in text]
    assert traded
    for text in traded[:300]:
        assert_same(text, ccxt_binance)
    assert all(map(frames.binance, traded))
    assert not any(frames.binance(text) for text in texts if '"e":"trade"' not in text)


@given(
    changed=st.dictionaries(st.sampled_from(["s", "t", "p", "q", "T", "m"]), ANYTHING, max_size=3),
    left_out=st.sets(st.sampled_from(["e", "s", "t", "p", "q", "T", "m", "M"]), max_size=1),
)
def test_what_is_read_without_ccxt_is_what_ccxt_would_have_read(
    changed: dict[str, Any], left_out: set[str], ccxt_binance: Any
) -> None:
    told = {name: value for name, value in frame(**changed).items() if name not in left_out}
    if frames.binance(json.dumps(told)) is not None:
        assert_same(json.dumps(told), ccxt_binance)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"e":"trade"}', '{"result":null,"id":1}', '{"e":"aggTrade"}', "[" * 5000],
)
def test_what_is_no_trade_is_left_to_ccxt(text: str) -> None:
    assert frames.binance(text) is None


async def test_trades_read_by_ccxt_among_those_read_without_it_are_lost_by_neither(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    async with BinanceExchange([SYMBOL]) as exchange, ingesting(memory_bus, exchange, flush_ms=200) as running:
        await exchange.until_subscribed(SYMBOL, timeout_s=PATIENCE_S)
        for price in range(64_000, 64_020):
            if price % 2:
                exchange.spoil(Spoil.LOSE)
            [trade] = await exchange.trades([Row(SYMBOL, price, "0.25")])
            if price % 2:
                with_numbers = frame(t=trade.id, T=trade.ts_ms, p=price, q=0.25)
                exchange.connections[0].send([json.dumps(with_numbers)])
        await running.until_stored(exchange)
        assert await running.repaired(SYMBOL) == []
        assert await running.states() == ["connected"]
