"""History through real ccxt clients, from local exchanges that speak three wire formats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.exchange import VENUES, Exchange

from market_ingest.columns import NO_CANDLES, Candles, Instrument, join
from market_ingest.config import ExchangeSettings
from market_ingest.history import backfill as module
from market_ingest.history.backfill import Backfill
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import Key, pages
from market_ingest.sources.klines import Klines
from market_ingest.sources.live.exchange import open_exchange
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_common.streams import CANDLES

MINUTE_MS = 60_000
HOURS = 9
SYMBOL = "BTC/USDT"


async def trade_for_hours(exchange: Exchange, until_ms: int) -> None:
    """A trade every 20 seconds of some hours, at a price that moves."""
    count = HOURS * 180
    for n in range(count):
        at_ms = until_ms - (count - n) * 20_000
        await exchange.trade(SYMBOL, f"{100 + n % 37}.5", f"0.{n % 7 + 1}", ts_ms=at_ms)


@pytest.fixture(params=list(VENUES))
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    async with VENUES[request.param]([SYMBOL]) as exchange:
        yield exchange


@pytest.fixture
async def client(venue: Exchange) -> AsyncIterator[Any]:
    opened = open_exchange(venue.venue, ExchangeSettings(symbols=[SYMBOL], options=venue.options()))
    yield opened
    await opened.close()


def rows(candles: Candles) -> list[tuple[float, ...]]:
    columns = (candles.open_ms, candles.open, candles.high, candles.low, candles.close, candles.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def truth(exchange: Exchange, timeframe: str, from_ms: int, to_ms: int) -> list[tuple[float, ...]]:
    """The ledger's candles, silent ones between trades included."""
    return [
        (c.open_ms, float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume))
        for c in exchange.ledger.candles(SYMBOL, timeframe)
        if from_ms <= c.open_ms < to_ms
    ]


async def test_a_range_equals_the_ledger(venue: Exchange, client: Any) -> None:
    now_ms = time.time_ns() // 1_000_000
    await trade_for_hours(venue, now_ms)
    klines = Klines({venue.venue: client}.__getitem__)
    for timeframe in ("1m", "5m", "1h"):
        key = Key(Instrument(venue.venue, SYMBOL), timeframe)
        from_ms, to_ms = key.floor(now_ms - (HOURS - 1) * 3_600_000), key.floor(now_ms)
        found = join([NO_CANDLES, *[page async for page in pages(klines.fetch, key, from_ms, to_ms)]])
        assert rows(found) == truth(venue, timeframe, from_ms, to_ms)
        assert len(found) == (to_ms - from_ms) // key.length_ms


async def test_before_the_first_trade_there_is_nothing(venue: Exchange, client: Any) -> None:
    now_ms = time.time_ns() // 1_000_000
    await trade_for_hours(venue, now_ms)
    key = Key(Instrument(venue.venue, SYMBOL), "5m")
    klines = Klines({venue.venue: client}.__getitem__)
    from_ms = key.floor(now_ms - 48 * 3_600_000)
    found = join([NO_CANDLES, *[page async for page in pages(klines.fetch, key, from_ms, key.floor(now_ms))]])
    assert rows(found) == truth(venue, "5m", from_ms, key.floor(now_ms))


async def test_what_cannot_be_asked_is_refused_in_words(venue: Exchange, client: Any) -> None:
    klines = Klines({venue.venue: client}.__getitem__)
    with pytest.raises(Rejected, match="unknown_exchange: mtgox is not configured"):
        await klines.fetch("mtgox", SYMBOL, "1m", 0, 10)
    with pytest.raises(Rejected, match=f"no_such_timeframe: {venue.venue} has no candles of 7m"):
        await klines.fetch(venue.venue, SYMBOL, "7m", 0, 10)
    with pytest.raises(Rejected, match="unknown_symbol"):
        await klines.fetch(venue.venue, "NO/SUCH", "1m", 0, 10)


async def test_a_refusal_says_how_long_to_wait_and_trouble_passes(venue: Exchange, client: Any) -> None:
    klines = Klines({venue.venue: client}.__getitem__)
    await venue.trade(SYMBOL, 100)
    await klines.fetch(venue.venue, SYMBOL, "1m", 0, 10)
    venue.rest.refuse_next(status=429, retry_after_s=3)
    with pytest.raises(Retryable, match="rate_limited") as error:
        await klines.fetch(venue.venue, SYMBOL, "1m", 0, 10)
    assert error.value.retry_after_s == 3
    assert "127.0.0.1" not in str(error.value)
    venue.rest.down = True
    with pytest.raises(Retryable):
        await klines.fetch(venue.venue, SYMBOL, "1m", 0, 10)


@pytest.mark.parametrize("body", [b"", b'{"a', b'{"a": "\xff"}', b"5", b"[" * 50_000 + b"]" * 50_000])
async def test_an_answer_that_makes_no_sense_is_asked_for_again(venue: Exchange, client: Any, body: bytes) -> None:
    klines = Klines({venue.venue: client}.__getitem__)
    await client.load_markets()
    venue.rest.body = body
    with pytest.raises(Retryable):
        await klines.fetch(venue.venue, SYMBOL, "1m", 0, 10)


async def test_the_seam_between_history_and_live_trades_holds(
    venue: Exchange, client: Any, memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History is fetched while trades arrive; with our own candles it is one line of the ledger's candles."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    now_ms = time.time_ns() // 1_000_000
    await trade_for_hours(venue, now_ms)
    instrument = Instrument(venue.venue, SYMBOL)
    klines = Klines({venue.venue: client}.__getitem__)
    registry = CollectorRegistry()
    first_ms = now_ms - 3 * MINUTE_MS  # trades before ours are the exchange's alone
    await memory_bus.publish([_trade(instrument, first_ms)])
    backfill = Backfill(
        memory_bus,
        klines.fetch,
        HistoryMetrics(registry),
        instruments=lambda: [instrument],
        candles=300,
        timeframes=("1m", "5m"),
        now_ms=lambda: now_ms,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(backfill.run(stop))
    await until(lambda: registry.get_sample_value("tocsin_history_pending", {"exchange": venue.venue}) == 0)
    stop.set()
    await task
    for timeframe in ("1m", "5m"):
        key = Key(instrument, timeframe)
        begin_ms = max(key.floor(now_ms) - 300 * key.length_ms, key.floor(now_ms - HOURS * 3_600_000))
        assert await _history(memory_bus, timeframe) == truth(venue, timeframe, begin_ms, key.floor(first_ms))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.01)


def _trade(instrument: Instrument, ts_ms: int) -> TradesReceived:
    names = {"exchange": instrument.exchange, "symbol": instrument.symbol, "source": "live"}
    columns = {"ts_ms": [ts_ms], "price": [1.0], "amount": [1.0], "side": "b", "trade_id": ["1"]}
    return TradesReceived(**names, cursor=0, received_ms=ts_ms, **columns)


async def _history(bus: MemoryBus, timeframe: str) -> list[tuple[float, ...]]:
    messages = await bus.page(CANDLES, f"market.candles.*.*.*.{timeframe}")
    events = [event for message in messages if isinstance(event := message.event(), CandlesClosed)]
    assert {event.origin for event in events} == {"history"}
    return [row for e in events for row in zip(e.open_ms, e.open, e.high, e.low, e.close, e.volume, strict=True)]
