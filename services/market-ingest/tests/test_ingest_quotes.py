"""Quotes, funding and tickers: what is let in, how often it is told, and the real clients that bring it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.pro
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from tests.exchange.binance import BinanceExchange

from market_ingest.metrics import IngestMetrics
from market_ingest.quotes.feed import QuoteFeed
from market_ingest.quotes.latest import Latest
from market_ingest.quotes.rows import Kind, Refused, funding, quote, ticker
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import Event, FundingChanged, QuoteMoved
from tocsin_common.streams import FUNDING, QUOTES, TICKERS, Stream

NOW_MS = 1_723_161_600_000
BOOK = {"symbol": "BTC/USDT", "timestamp": None, "bid": 100.0, "ask": 100.5, "bidVolume": 1.0, "askVolume": None}
PERPETUAL = {"symbol": "BTC/USDT:USDT", "timestamp": NOW_MS, "fundingRate": "0.0001", "markPrice": 100.2}


def moved(bid: float, ts_ms: int = NOW_MS, symbol: str = "BTC/USDT") -> QuoteMoved:
    return quote("x", {**BOOK, "symbol": symbol, "bid": bid, "ask": bid + 1, "timestamp": ts_ms}, ts_ms)


def test_an_exchange_that_gives_no_time_is_given_ours() -> None:
    assert quote("x", BOOK, NOW_MS).ts_ms == NOW_MS


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"bid": 0}, "bad_price"),
        ({"ask": None}, "bad_price"),
        ({"ask": "NaN"}, "bad_price"),
        ({"ask": 99.0}, "crossed"),
        ({"timestamp": 1_000}, "bad_time"),
        ({"timestamp": NOW_MS + 2 * 3_600_000}, "bad_time"),
    ],
)
def test_a_quote_that_cannot_be_true_is_refused_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        quote("x", {**BOOK, **changed}, NOW_MS)


def test_a_funding_rate_beyond_all_limits_is_refused() -> None:
    assert funding("x", PERPETUAL, NOW_MS).rate == 0.0001
    with pytest.raises(Refused, match="bad_rate"):
        funding("x", {**PERPETUAL, "fundingRate": 7}, NOW_MS)


def test_the_change_of_a_ticker_is_a_fraction() -> None:
    row = {"symbol": "A/B", "timestamp": NOW_MS, "last": 2.0, "percentage": -1.25}
    assert ticker("x", row, NOW_MS).change == -0.0125


def test_moves_that_follow_quickly_are_told_as_one_and_the_last_one_is_told_in_the_end() -> None:
    latest = Latest({QuoteMoved: 250})
    told: list[float] = []
    for step in range(100):
        latest.put(moved(100.0 + step, NOW_MS + 10 * step))
        told += [value.bid for value in latest.due(NOW_MS + 10 * step) if isinstance(value, QuoteMoved)]
    told += [value.bid for value in latest.due(NOW_MS + 2_000) if isinstance(value, QuoteMoved)]
    assert told == [100.0, 125.0, 150.0, 175.0, 199.0]
    assert list(latest.due(NOW_MS + 3_000)) == []


def test_symbols_do_not_wait_for_each_other_and_older_values_do_not_come_back() -> None:
    latest = Latest({QuoteMoved: 250})
    latest.put(moved(1.0))
    assert len(latest.due(NOW_MS)) == 1
    latest.put(moved(2.0, symbol="ETH/USDT"))
    latest.put(moved(3.0, NOW_MS - 1))
    latest.put(moved(1.0))
    assert [value.symbol for value in latest.due(NOW_MS + 1)] == ["ETH/USDT"]
    assert list(latest.due(NOW_MS + 1_000)) == []


@asynccontextmanager
async def collecting(client: Any, kinds: list[Kind], symbols: list[str], bus: MemoryBus) -> AsyncIterator[None]:
    stop = asyncio.Event()
    feed = QuoteFeed(client.id, client, kinds, lambda: symbols, bus, IngestMetrics(CollectorRegistry()))
    task = asyncio.create_task(feed.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def newest(bus: MemoryBus, stream: Stream, holds: Callable[[Any], bool]) -> Event:
    """The last event of a stream, once it is what the test waits for."""
    async with asyncio.timeout(15):
        while True:
            message = await bus.last(stream, stream.subjects[0])
            if message is not None and holds(message.event()):
                return message.event()
            await asyncio.sleep(0.01)


async def test_quotes_and_tickers_of_a_real_client_reach_their_streams_also_after_a_drop(memory_bus: MemoryBus) -> None:
    async with BinanceExchange(["BTC/USDT", "ETH/USDT"]) as server:
        client = ccxt.pro.binance(server.options())
        async with collecting(client, ["quotes", "tickers"], ["BTC/USDT", "GONE/USDT"], memory_bus):
            await server.until_connections(1)
            trading = asyncio.create_task(keep_trading(server, 50_000))
            await newest(memory_bus, QUOTES, lambda event: abs(event.bid - 50_000) < 50)
            await newest(memory_bus, TICKERS, lambda event: event.last == 50_000)
            trading.cancel()
            server.drop()
            trading = asyncio.create_task(keep_trading(server, 51_000))
            found = await newest(memory_bus, QUOTES, lambda event: abs(event.bid - 51_000) < 50)
            trading.cancel()
    assert isinstance(found, QuoteMoved)
    assert (found.exchange, found.symbol) == ("binance", "BTC/USDT")
    assert found.bid < found.ask


async def keep_trading(server: BinanceExchange, price: int) -> None:
    while True:
        await server.trade("BTC/USDT", price, "0.5")
        await asyncio.sleep(0.02)


async def test_funding_is_asked_for_and_only_of_perpetuals(memory_bus: MemoryBus, usdm: dict[str, Any]) -> None:
    client = ccxt.pro.binanceusdm(usdm)
    async with collecting(client, ["funding"], ["BTC/USDT:USDT"], memory_bus):
        found = await newest(memory_bus, FUNDING, lambda _: True)
    assert isinstance(found, FundingChanged)
    assert (found.rate, found.mark_price, found.due_ms) == (0.00012, 61_234.5, NOW_MS + 3_600_000)


@pytest.fixture
async def usdm() -> AsyncIterator[dict[str, Any]]:
    """A local server with the two answers of Binance's USD-M futures that funding needs."""
    market = {
        "symbol": "BTCUSDT",
        "pair": "BTCUSDT",
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        ],
    }
    premium = {
        "symbol": "BTCUSDT",
        "markPrice": "61234.50",
        "indexPrice": "61230.00",
        "lastFundingRate": "0.00012",
        "nextFundingTime": NOW_MS + 3_600_000,
        "time": NOW_MS,
    }

    async def information(_request: web.Request) -> web.Response:
        return web.json_response({"symbols": [market], "rateLimits": []})

    async def rates(_request: web.Request) -> web.Response:
        return web.json_response([premium])

    app = web.Application()
    app.router.add_get("/fapi/v1/exchangeInfo", information)
    app.router.add_get("/fapi/v1/premiumIndex", rates)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]

    yield {
        "urls": {"api": {"fapiPublic": f"http://{host}:{port}/fapi/v1"}},
        "options": {"fetchMarkets": {"types": ["linear"]}},
        "has": {"fetchCurrencies": False},
    }
    await runner.cleanup()
