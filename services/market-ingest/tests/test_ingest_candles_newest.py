"""After a restart the builder learns what it had closed, whatever was published on the same subject later."""

from __future__ import annotations

import asyncio

import pytest

import market_ingest.newest as newest
from market_ingest.columns import Instrument
from market_ingest.newest import newest_candles
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import CandlesClosed, Origin
from tocsin_common.streams import CANDLES

BTC, ETH = Instrument("binance", "BTC/USDT"), Instrument("binance", "ETH/USDT")
MINUTE_MS = 60_000
START_MS = 1_700_006_400_000


def closed(
    minute: int, *, symbol: str = "BTC/USDT", revision: int = 0, origin: Origin = "trades", price: float = 10.0
) -> CandlesClosed:
    return CandlesClosed(
        exchange="binance",
        symbol=symbol,
        timeframe="1m",
        origin=origin,
        open_ms=[START_MS + minute * MINUTE_MS],
        open=[price],
        high=[price],
        low=[price],
        close=[price],
        volume=[1.0],
        revision=revision,
    )


async def minute_of(bus: Bus, instrument: Instrument, through_seq: int | None = None) -> int | None:
    """The newest minute of an instrument."""
    last = (await bus.stream_state(CANDLES)).last_seq
    found = await newest_candles(bus, [(instrument, "1m")], last if through_seq is None else through_seq)
    candles = found.get((instrument, "1m"))
    return None if candles is None else (int(candles.open_ms[-1]) - START_MS) // MINUTE_MS


async def test_corrections_and_history_do_not_hide_the_newest_candle(jetstream_bus: Bus) -> None:
    await jetstream_bus.publish([closed(7), closed(8), closed(3, symbol="ETH/USDT")])
    await jetstream_bus.publish([closed(5, revision=1, origin="exchange"), closed(-1, origin="history")])
    assert await minute_of(jetstream_bus, BTC) == 8
    assert await minute_of(jetstream_bus, ETH) == 3


async def test_a_correction_after_the_mark_hides_nothing_before_it(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([closed(7), closed(8), closed(9), closed(5, revision=1, origin="exchange")])
    assert await minute_of(memory_bus, BTC, through_seq=2) == 8


async def test_where_nothing_was_built_history_says_how_far_candles_go(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([closed(1, symbol="ETH/USDT"), closed(4, origin="history")])
    assert await minute_of(memory_bus, BTC) == 4
    assert await minute_of(memory_bus, BTC, through_seq=1) is None
    assert await minute_of(memory_bus, Instrument("kraken", "BTC/USD")) is None


async def test_the_search_goes_back_block_by_block_and_not_for_ever(
    memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "BLOCK", 3)
    monkeypatch.setattr(newest, "SEARCH_BACK", 10)
    await memory_bus.publish([closed(1, price=11.0), *(closed(minute, symbol="ETH/USDT") for minute in range(8))])
    await memory_bus.publish([closed(0, revision=1, origin="exchange")])
    assert await minute_of(memory_bus, BTC) == 1
    await memory_bus.publish([closed(9, symbol="ETH/USDT")])
    assert await asyncio.wait_for(minute_of(memory_bus, BTC), 5.0) == 0
