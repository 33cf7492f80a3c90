"""When a live trade was received is when its frame came."""

from __future__ import annotations

from typing import Any

from tests.exchange import BinanceExchange

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
