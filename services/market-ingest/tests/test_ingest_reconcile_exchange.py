"""Candles with a hole in their trades, reconciled through a real ccxt client with a local Binance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from tests.exchange import VENUES, Exchange

from market_ingest.candles import CandleBuilder, Closed
from market_ingest.columns import Instrument, Trades
from market_ingest.config import ExchangeSettings
from market_ingest.ingest import candle_events
from market_ingest.metrics import IngestMetrics
from market_ingest.reconcile.metrics import ReconcileMetrics
from market_ingest.reconcile.reconciler import Reconciler
from market_ingest.sources.klines import Klines
from market_ingest.sources.live.exchange import open_exchange
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed
from tocsin_common.streams import CANDLES, SNAPSHOTS

SYMBOL = "BTC/USDT"
BTC = Instrument("binance", SYMBOL)
MINUTE_MS = 60_000
LENGTHS_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": 60 * MINUTE_MS}
LOST = range(100, 160)
"""Trades that never came: from within a minute to within a later one, with whole minutes between."""

PATIENCE_S = 30.0

Values = tuple[float, float, float, float, float]


def built(exchange: Exchange, now_ms: int) -> list[CandlesClosed]:
    """What an ingest publishes that missed the lost trades."""
    trades = exchange.ledger.trades(SYMBOL)
    made, out = CandleBuilder(gap_ms=0, grace_ms=2_000, flats_by_clock=True), Closed()

    def add(some: Sequence[int]) -> None:
        ts_ms, price, amount = (
            np.array([getattr(trades[number], name) for number in some], dtype)
            for name, dtype in (("ts_ms", np.int64), ("price", np.float64), ("amount", np.float64))
        )
        made.of(BTC).add_trades(Trades(ts_ms, price, amount, np.full(len(some), 45, np.uint8), [None] * len(some)), out)

    add(range(LOST.start))
    made.interrupt("binance")
    made.resume(BTC, whole=False)
    add(range(LOST.stop, len(trades)))
    made.advance(now_ms, out)
    return [event for rows in out.candles for event in candle_events(rows, rows.candles)]


async def published(bus: MemoryBus) -> list[CandlesClosed]:
    reader = bus.reader(CANDLES, after=0)
    messages = await reader.through((await bus.stream_state(CANDLES)).last_seq)
    return [event for message in messages if isinstance(event := message.event(), CandlesClosed)]


def newest(events: Sequence[CandlesClosed], timeframe: str) -> dict[int, Values]:
    """The candles of the highest revisions, by open time."""
    found: dict[int, Values] = {}
    for event in sorted(events, key=lambda event: event.revision):
        if event.timeframe == timeframe:
            columns = (event.open, event.high, event.low, event.close, event.volume)
            found.update(zip(event.open_ms, zip(*columns, strict=True), strict=True))
    return found


def truth(exchange: Exchange, timeframe: str, length_ms: int, now_ms: int) -> dict[int, Values]:
    return {
        candle.open_ms: tuple(map(float, (candle.open, candle.high, candle.low, candle.close, candle.volume)))
        for candle in exchange.ledger.candles(SYMBOL, timeframe, now_ms)
        if candle.open_ms + length_ms <= now_ms - 2_000
    }


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(0.01)


async def _begun(bus: MemoryBus) -> bool:
    """Whether a reconciler has its place on the stream."""
    return bool(await bus.bucket(SNAPSHOTS).all())


async def _agrees(bus: MemoryBus, expected: dict[str, dict[int, Values]]) -> bool:
    events = await published(bus)
    return {name: newest(events, name) for name in expected} == expected


async def test_after_reconciling_every_candle_is_the_exchanges_own(memory_bus: MemoryBus) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with VENUES["binance"]([SYMBOL]) as exchange:
        for number in range(600):
            at_ms = now_ms - 7_200_000 + number * 11_000
            await exchange.trade(SYMBOL, f"{100 + number % 37}.25", f"0.{number % 7 + 1}", ts_ms=at_ms)
        client = open_exchange("binance", ExchangeSettings(symbols=[SYMBOL], options=exchange.options()))
        registry, stop = CollectorRegistry(), asyncio.Event()
        reconciler = Reconciler(
            memory_bus,
            Klines({"binance": client}.__getitem__).fetch,
            lambda: [BTC],
            ReconcileMetrics(registry),
            every_s=0.001,
            look_s=0.01,
        )
        running = asyncio.create_task(reconciler.run(stop))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await until(lambda: _begun(memory_bus))
                first = built(exchange, now_ms)
                await memory_bus.publish(first)
                expected = {name: truth(exchange, name, length, now_ms) for name, length in LENGTHS_MS.items()}
                await until(lambda: _agrees(memory_bus, expected))
        finally:
            stop.set()
            await running
            await client.close()
    corrected = [event for event in await published(memory_bus) if event.revision]
    assert {event.revision for event in corrected} == {1}
    changed = {name: sum(len(event.open_ms) for event in corrected if event.timeframe == name) for name in LENGTHS_MS}
    lost_minutes = len({exchange.ledger.trades(SYMBOL)[number].ts_ms // MINUTE_MS for number in LOST})
    assert changed["1m"] == lost_minutes
    assert 0 < changed["5m"] < lost_minutes


def test_the_delay_of_closing_is_measured_for_live_candles_only() -> None:
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry)
    end_ms = time.time_ns() // 1_000_000 - 2_200
    event = CandlesClosed(
        exchange="binance",
        symbol=SYMBOL,
        timeframe="1m",
        origin="trades",
        open_ms=[end_ms - MINUTE_MS],
        open=[1.0],
        high=[1.0],
        low=[1.0],
        close=[1.0],
        volume=[1.0],
    )
    metrics.published([event], live=False)
    name, labels = "tocsin_ingest_candle_close_delay_seconds", {"timeframe": "1m"}
    assert registry.get_sample_value(f"{name}_count", labels) is None
    metrics.published([event], live=True)
    delay_s = registry.get_sample_value(f"{name}_sum", labels)
    assert delay_s is not None
    assert 2.2 <= delay_s < 30.0
