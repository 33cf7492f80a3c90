"""When a live trade was received is when its frame came, and what stays does not burden the garbage collection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tests.exchange import BinanceExchange

from market_ingest.sources.live import garbage
from market_ingest.sources.live.garbage import collect_rarely
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import TradesReceived
from tocsin_common.streams import TRADES

SYMBOL = "BTC/USDT"
FLUSH_MS = 1_000
PATIENCE_S = 60.0


async def test_a_trade_is_received_when_its_frame_comes_and_not_when_it_is_collected(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    waited_ms: list[int] = []

    async def waited(exchange: BinanceExchange) -> bool:
        await exchange.trade(SYMBOL, 64_000, "0.1")
        reader = memory_bus.reader(TRADES, after=0)
        stored = await reader.through((await memory_bus.stream_state(TRADES)).last_seq)
        for message in stored:
            batch = message.event()
            assert isinstance(batch, TradesReceived)
            assert batch.received_ms >= batch.ts_ms[0]
            waited_ms.append(message.stored_ms - batch.received_ms)
        return max(waited_ms, default=0) >= FLUSH_MS // 2

    async with (
        BinanceExchange([SYMBOL]) as exchange,
        ingesting(memory_bus, exchange, flush_ms=FLUSH_MS, history_candles=0) as running,
    ):
        await exchange.until_subscribed(SYMBOL, timeout_s=PATIENCE_S)
        await running.until(lambda: waited(exchange))


async def test_what_is_there_is_set_aside_from_garbage_collection_until_the_source_closes() -> None:
    async def set_aside() -> None:
        while not gc.get_freeze_count():  # noqa: ASYNC110 - the interpreter tells nobody
            await asyncio.sleep(0)

    collecting = asyncio.create_task(collect_rarely(first_s=0.0))
    await asyncio.wait_for(set_aside(), PATIENCE_S)
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    assert not gc.get_freeze_count()


class Ring:
    """Garbage that only a full pass finds."""

    def __init__(self) -> None:
        self.itself = self


async def test_now_and_then_a_full_pass_finds_what_became_garbage_after_it_was_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "RARELY_S", 0.01)
    ring = Ring()
    gone = asyncio.Event()
    watching = weakref.ref(ring, lambda _: gone.set())
    gc.disable()  # only what is under test collects
    try:
        gc.freeze()
        del ring
        gc.collect()
        assert watching() is not None
        collecting = asyncio.create_task(collect_rarely(first_s=0.01))
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
    finally:
        gc.enable()
