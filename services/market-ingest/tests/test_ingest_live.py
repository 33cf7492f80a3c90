"""Live trades through the real ccxt.pro, from a local exchange that speaks Binance's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from market_ingest import pipeline
from market_ingest.columns import Instrument
from market_ingest.config import ExchangeSettings, IngestSection, LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.inbox import MAX_IDS, Inbox
from market_ingest.sources.live import LiveSource
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import ConfigError
from tocsin_common.events import AnyEvent, CandlesClosed, ClockAdvanced, FeedChanged, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, FEEDS, TRADES, Stream

PATIENCE_S = 60.0
"""Importing ccxt.pro alone takes seconds, more on a busy machine."""

MINUTE_MS = 60_000
NOON_MS = 1_700_049_600_000
BTC = Instrument("binance", "BTC/USDT")


@dataclass
class Running:
    """An ingest that runs beside the test."""

    bus: MemoryBus
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    async def events(self, stream: Stream) -> list[AnyEvent]:
        reader = self.bus.reader(stream, after=0)
        return [message.event() for message in await reader.through((await self.bus.stream_state(stream)).last_seq)]

    async def prices(self, symbol: str) -> list[float]:
        batches = [event for event in await self.events(TRADES) if isinstance(event, TradesReceived)]
        return [price for event in batches if event.symbol == symbol for price in event.price]

    async def states(self) -> list[str]:
        return [event.state for event in await self.events(FEEDS) if isinstance(event, FeedChanged)]

    async def totals(self) -> dict[str, int]:
        *_, mark = await self.events(CLOCK) or [None]
        return mark.totals if isinstance(mark, ClockAdvanced) else {}

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition on the streams."""
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():
                await self._changed()

    async def _changed(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, changed.set_result, None)
        await changed


@asynccontextmanager
async def ingesting(bus: MemoryBus, exchanges: dict[str, ExchangeSettings], **settings: Any) -> AsyncIterator[Running]:
    running, stop = Running(bus), asyncio.Event()
    section = IngestSection(source=LiveSettings(kind="live", exchanges=exchanges, **settings))
    metrics = IngestMetrics(running.registry)
    assert isinstance(section.source, LiveSettings)
    source = LiveSource(section.source, metrics)
    task = asyncio.create_task(pipeline.run(source, bus, section, stop, metrics))
    try:
        yield running
    finally:
        stop.set()
        await task
        await source.close()


async def test_trades_arrive_once_and_bad_ones_not_at_all(memory_bus: MemoryBus, binance: Any) -> None:
    exchanges = {"binance": ExchangeSettings(symbols=["BTC/USDT", "ETH/USDT", "NO/WHERE"], options=binance.options())}
    async with ingesting(memory_bus, exchanges) as running:
        await asyncio.wait_for(binance.subscribed.wait(), PATIENCE_S)
        await binance.send("BTC", 1, "60000.5", "0.1")
        await binance.send("ETH", 9, "3000.25")
        await binance.send("BTC", 1, "60000.5", "0.1")
        await binance.send("BTC", 2, "0.00000000")
        await binance.send("BTC", 3, "NaN")
        await binance.send("BTC", 4, "60001", ts_ms=1_000)
        await binance.send("BTC", 5, "60002")
        await running.until(lambda: has(running.prices, "BTC/USDT", [60000.5, 60002.0]))
        await running.until(lambda: has(running.prices, "ETH/USDT", [3000.25]))

        async def counted() -> bool:
            totals = await running.totals()
            return (totals.get("trades_rejected"), totals.get("trades_duplicate")) == (3, 1)

        await running.until(counted)
        rejected = {
            reason: running.registry.get_sample_value(
                "tocsin_ingest_rejected_total", {"kind": "trades", "reason": reason}
            )
            for reason in ("bad_price", "bad_time", "malformed")
        }
        assert rejected == {"bad_price": 1, "bad_time": 1, "malformed": 1}
        assert await running.states() == ["connected"]


async def test_a_lost_connection_is_announced_and_made_anew(memory_bus: MemoryBus, binance: Any) -> None:
    exchanges = {"binance": ExchangeSettings(symbols=["BTC/USDT"], options=binance.options())}
    async with ingesting(memory_bus, exchanges) as running:
        await asyncio.wait_for(binance.subscribed.wait(), PATIENCE_S)
        await binance.send("BTC", 1, "60000")
        await running.until(lambda: has(running.prices, "BTC/USDT", [60000.0]))
        await binance.drop()
        await asyncio.wait_for(binance.subscribed.wait(), PATIENCE_S)
        await binance.send("BTC", 1, "60000")
        await binance.send("BTC", 2, "60001")
        await running.until(lambda: has(running.prices, "BTC/USDT", [60000.0, 60001.0]))
        assert await running.states() == ["connected", "disconnected", "connected"]


async def test_an_exchange_that_sends_nothing_is_stale_and_the_other_goes_on(
    memory_bus: MemoryBus, binance: Any
) -> None:
    nowhere = {**binance.options(), "urls": {"api": {"public": "http://127.0.0.1:9/api/v3"}}}
    exchanges = {
        "binance": ExchangeSettings(symbols=["BTC/USDT"], options=binance.options()),
        "binanceus": ExchangeSettings(symbols=["BTC/USDT"], options=nowhere),
    }
    async with ingesting(memory_bus, exchanges, stale_after_s=1.0) as running:
        await asyncio.wait_for(binance.subscribed.wait(), PATIENCE_S)
        await binance.send("BTC", 1, "60000")

        async def stale() -> bool:
            events = [event for event in await running.events(FEEDS) if isinstance(event, FeedChanged)]
            return {("binance", "stale"), ("binanceus", "disconnected")} <= {(e.exchange, e.state) for e in events}

        await running.until(stale)
        assert await running.prices("BTC/USDT") == [60000.0]


async def test_an_exchange_ccxt_does_not_know_is_wrong_configuration() -> None:
    settings = LiveSettings(kind="live", exchanges={"nosuch": ExchangeSettings(symbols=["BTC/USDT"])})
    chunks = LiveSource(settings, IngestMetrics(CollectorRegistry())).chunks(0)
    with pytest.raises(ConfigError, match=r"exchanges\.nosuch: not an exchange"):
        await anext(chunks)


async def has(prices: Callable[[str], Awaitable[list[float]]], symbol: str, expected: list[float]) -> bool:
    return await prices(symbol) == expected


def row(number: int, ts_ms: int = NOON_MS, price: float | None = 1.0, symbol: str = "BTC/USDT") -> dict[str, Any]:
    return {"symbol": symbol, "id": str(number), "timestamp": ts_ms, "price": price, "amount": 1.0, "side": "buy"}


def test_the_inbox_rejects_symbols_nobody_asked_for_and_values_that_are_missing() -> None:
    inbox = Inbox([BTC])
    inbox.put("binance", [row(1), row(2, price=None), row(3, symbol="ETH/USDT"), row(4, ts_ms=NOON_MS + 7_200_000)])
    chunk = inbox.empty(NOON_MS)
    assert [rows.trades.trade_id for rows in chunk.trades] == [["1"]]
    assert chunk.trades_rejected == {"unknown_symbol": 1, "bad_price": 1, "bad_time": 1}


def test_the_inbox_recognises_what_is_stored_and_forgets_the_oldest_ids() -> None:
    inbox = Inbox([BTC])
    inbox.put("binance", [row(number) for number in range(MAX_IDS + 1)])
    assert len(inbox.empty(NOON_MS).trades[0].trades) == MAX_IDS + 1
    inbox.put("binance", [row(0), row(1), row(MAX_IDS)])
    chunk = inbox.empty(NOON_MS)
    assert chunk.trades[0].trades.trade_id == ["0"]
    assert chunk.duplicates == 2


async def test_a_restart_in_the_middle_of_a_live_minute_keeps_the_candle_exact(memory_bus: MemoryBus) -> None:
    minute = [NOON_MS + 10_000, NOON_MS + 20_000]
    first = Scripted([(NOON_MS + 21_000, minute)])
    await first.run(memory_bus)
    second = Scripted([(NOON_MS + 40_000, [NOON_MS + 30_000]), (NOON_MS + 62_000, [])], known=2)
    await second.run(memory_bus)
    third = Scripted([(NOON_MS + 3 * MINUTE_MS + 2_000, [NOON_MS + 3 * MINUTE_MS])], known=3)
    await third.run(memory_bus)
    reader = memory_bus.reader(CANDLES, after=0)
    events = [message.event() for message in await reader.through(100)]
    minutes = [event for event in events if isinstance(event, CandlesClosed) and event.timeframe == "1m"]
    assert [(event.open_ms, event.trades, event.volume) for event in minutes] == [([NOON_MS], [3], [0.3])]


class Scripted:
    """A live source at the outermost wall: gives out prepared trades at prepared times, one per timestamp."""

    source_id, live, instruments = "live", True, [BTC]

    def __init__(self, script: list[tuple[int, list[int]]], known: int = 0) -> None:
        self._script = script
        self._number = known
        self._inbox = Inbox(self.instruments)
        self._stop = asyncio.Event()

    def remember(self, stored: Any) -> None:
        self._inbox.remember(stored)

    async def chunks(self, cursor: int) -> AsyncIterator[Any]:
        for clock_ms, stamps in self._script:
            for ts_ms in stamps:
                self._inbox.put("binance", [{**row(self._number, ts_ms), "amount": 0.1}])
                self._number += 1
            yield self._inbox.empty(clock_ms)
        self._stop.set()

    async def run(self, bus: MemoryBus) -> None:
        section = IngestSection()
        await pipeline.run(self, bus, section, self._stop, IngestMetrics(CollectorRegistry()))
