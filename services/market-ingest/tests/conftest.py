"""A live ingest beside a test, and what it put onto the streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.exchange import Exchange

from market_ingest import pipeline
from market_ingest.config import ExchangeSettings, IngestSection, LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.live import LiveSource
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import AnyEvent, CandlesClosed, ClockAdvanced, FeedChanged, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, FEEDS, TRADES, Stream
from tocsin_trading.timeframes import TIMEFRAME_MS

PATIENCE_S = 60.0
"""Importing ccxt.pro alone takes seconds, more on a busy machine."""

LOOK_S = 0.02


@dataclass
class OnStreams:
    """What an ingest put onto the streams."""

    bus: Bus

    async def events(self, stream: Stream) -> list[AnyEvent]:
        reader = self.bus.reader(stream, after=0)
        found = [message.event() for message in await reader.through((await self.bus.stream_state(stream)).last_seq)]
        await reader.close()
        return found

    async def batches(self, symbol: str) -> list[TradesReceived]:
        events = await self.events(TRADES)
        return [event for event in events if isinstance(event, TradesReceived) and event.symbol == symbol]

    async def ids(self, symbol: str) -> list[str | None]:
        """Trade ids of a symbol as they are on the stream."""
        return [name for event in await self.batches(symbol) for name in event.trade_id]

    async def repaired(self, symbol: str) -> list[str | None]:
        """Those of them that were fetched."""
        return [name for event in await self.batches(symbol) if event.repaired for name in event.trade_id]

    async def feeds(self, symbol: str | None = None) -> list[FeedChanged]:
        events = [event for event in await self.events(FEEDS) if isinstance(event, FeedChanged)]
        return [event for event in events if event.symbol == symbol]

    async def states(self, symbol: str | None = None) -> list[str]:
        return [event.state for event in await self.feeds(symbol)]

    async def totals(self) -> dict[str, int]:
        *_, mark = await self.events(CLOCK) or [None]
        return mark.totals if isinstance(mark, ClockAdvanced) else {}

    async def candles(self, symbol: str, timeframe: str = "1m") -> dict[int, tuple[float, ...]]:
        """Open, high, low, close, volume and trades by open time; none of them twice."""
        found: dict[int, tuple[float, ...]] = {}
        for event in await self.events(CANDLES):
            assert isinstance(event, CandlesClosed)
            if (event.symbol, event.timeframe) != (symbol, timeframe):
                continue
            columns = (event.open, event.high, event.low, event.close, event.volume, event.trades or [])
            for open_ms, *row in zip(event.open_ms, *columns, strict=True):
                assert open_ms not in found, f"{symbol} {timeframe} {open_ms} is there twice"
                found[open_ms] = tuple(row)
        return found

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_S) -> None:
        """Wait for a condition on the streams."""
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - what changes is on a server
                await asyncio.sleep(LOOK_S)

    async def until_stored(self, exchange: Exchange, *symbols: str, seconds: float = PATIENCE_S) -> None:
        """Wait until every trade of the ledger is on the stream, in its order."""
        for symbol in symbols or exchange.markets:

            async def stored(symbol: str = symbol) -> bool:
                return await self.ids(symbol) == exchange.ledger.ids_of(symbol)

            try:
                await self.until(stored, seconds)
            except TimeoutError:
                assert await self.ids(symbol) == exchange.ledger.ids_of(symbol)


@dataclass
class Running(OnStreams):
    """A live ingest that runs beside the test."""

    source: LiveSource
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"tocsin_ingest_{name}", labels) or 0.0


@pytest.fixture
def on_streams() -> Callable[[Bus], OnStreams]:
    """Reads back what is on a bus."""
    return OnStreams


async def _time_passes(seconds: float) -> None:
    """Real time is part of what is tested: for how long an exchange trades or misbehaves."""
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


@pytest.fixture
def time_passes() -> Callable[[float], Awaitable[None]]:
    """Lets an exchange trade or misbehave for a while."""
    return _time_passes


Ingesting = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def ingesting() -> Ingesting:
    """Starts an ingest: `async with ingesting(bus, exchange, ...) as running`."""
    return _ingesting


@asynccontextmanager
async def _ingesting(
    bus: Bus,
    *exchanges: Exchange,
    symbols: list[str] | None = None,
    top: int | None = None,
    seconds: bool = False,
    **settings: Any,
) -> AsyncIterator[Running]:
    """`seconds`: candles of one second, too. `settings` are those of the live source."""
    configured = {
        one.venue: ExchangeSettings(symbols=symbols or list(one.markets), top=top, options=one.options())
        for one in exchanges
    }
    live = LiveSettings(kind="live", exchanges=configured, **settings)
    stop, registry = asyncio.Event(), CollectorRegistry()
    metrics = IngestMetrics(registry)
    source = LiveSource(live, metrics)
    running = Running(bus, source, registry)
    timeframes = [name for name in TIMEFRAME_MS if seconds or name != "1s"]
    section = IngestSection.model_validate({"source": live, "timeframes": timeframes})
    task = asyncio.create_task(pipeline.run(source, bus, section, stop, metrics))
    try:
        yield running
    finally:
        stop.set()
        await asyncio.gather(task)
        await source.close()
