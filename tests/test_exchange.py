"""The test exchanges, seen through the real ccxt.pro clients: what they say is what the ledger holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from tests.exchange import VENUES, BinanceExchange, Exchange, Market, OkxExchange, Row, Trade, checksum
from tests.exchange.client import Watch, client_of, until, watching

SYMBOLS = ("BTC/USDT", "ETH/USDT")
BTC, ETH = SYMBOLS
MINUTE = 60_000
T0 = 1_700_000_040_000
"""A whole minute."""


@pytest.fixture(params=sorted(VENUES))
async def exchange(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    async with VENUES[request.param](SYMBOLS) as venue:
        yield venue


@pytest.fixture
async def client(exchange: Exchange) -> AsyncIterator[Any]:
    async with client_of(exchange) as opened:
        yield opened


def told(trade: dict[str, Any]) -> tuple[Any, ...]:
    return trade["symbol"], trade["id"], trade["timestamp"], trade["price"], trade["amount"], trade["side"]


def happened(trade: Trade) -> tuple[Any, ...]:
    return trade.symbol, trade.id, trade.ts_ms, float(trade.price), float(trade.amount), trade.side


async def some_trades(exchange: Exchange, count: int, *, ts_ms: int = T0, step_ms: int = 500) -> list[Trade]:
    sides = itertools.cycle(("buy", "sell"))
    rows = [Row(BTC, 60_000 + n % 7, f"0.{n % 9 + 1}", next(sides), ts_ms + n * step_ms) for n in range(count)]
    return await exchange.trades(rows)


def leaves(urls: dict[str, Any]) -> Iterator[str]:
    for value in urls.values():
        if isinstance(value, dict):
            yield from leaves(value)
        else:
            yield value


# What the exchange says.


async def test_no_url_of_the_client_leads_anywhere_else(exchange: Exchange, client: Any) -> None:
    assert [url for url in leaves(client.urls["api"]) if exchange.url not in url] == []


async def test_live_trades_arrive_as_they_happened(exchange: Exchange, client: Any) -> None:
    async with watching(exchange, client) as watch:
        await exchange.trade(BTC, "64000.01", "0.00123", "sell")
        await exchange.trades([Row(ETH, 3000, 2), Row(BTC, "64000.02", "1"), Row(ETH, "3000.5", "0.1", "sell")])
        for symbol in SYMBOLS:
            await until(lambda symbol=symbol: len(watch.trades(symbol)) == 2)  # type: ignore[misc]
            heard = [told(trade) for trade in watch.trades(symbol)]
            assert heard == [happened(trade) for trade in exchange.ledger.trades(symbol)]


async def test_recent_trades_over_http_are_those_of_the_ledger(exchange: Exchange, client: Any) -> None:
    await some_trades(exchange, 60)
    fetched = await client.fetch_trades(BTC)
    assert [told(trade) for trade in fetched] == [happened(trade) for trade in exchange.ledger.trades(BTC)]


async def test_candles_over_http_are_those_of_the_ledger_with_flat_ones_in_silence(
    exchange: Exchange, client: Any
) -> None:
    start_ms = (int(time.time() * 1000) // MINUTE - 10) * MINUTE
    await some_trades(exchange, 9, ts_ms=start_ms, step_ms=MINUTE // 4)
    await exchange.trade(BTC, 61_000, "0.5", ts_ms=start_ms + 5 * MINUTE)
    fetched = await client.fetch_ohlcv(BTC, "1m", since=start_ms, limit=6)
    expected = exchange.ledger.candles(BTC, "1m")
    assert [candle.trades for candle in expected] == [4, 4, 1, 0, 0, 1]
    assert fetched == [[c.open_ms, *map(float, (c.open, c.high, c.low, c.close, c.volume))] for c in expected]


async def test_tickers_carry_quote_volume_and_quotes(exchange: Exchange, client: Any) -> None:
    await exchange.trade(BTC, 60_000, "0.5")
    await exchange.trade(BTC, 61_000, "1.5", "sell")
    ticker = (await client.fetch_tickers())[BTC]
    assert (ticker["last"], ticker["quoteVolume"], ticker["high"]) == (61_000.0, 121_500.0, 61_000.0)
    assert ticker["bid"] < ticker["ask"]


async def test_quotes_tickers_and_candles_are_told_live(exchange: Exchange, client: Any) -> None:
    await client.load_markets()
    watches: list[tuple[Any, Callable[[Any], float]]] = [
        (client.watch_ticker(BTC), lambda ticker: ticker["last"]),
        (client.watch_bids_asks([BTC]), lambda quotes: quotes[BTC]["bid"]),
        (client.watch_ohlcv(BTC, "1m"), lambda candles: candles[-1][4]),
    ]
    for watched, value in watches:
        task = asyncio.create_task(watched)
        async with asyncio.timeout(5):
            while not task.done():
                await exchange.trade(BTC, 60_000)
                await asyncio.sleep(0.01)
        assert value(task.result()) == 60_000.0


async def test_markets_come_and_go_while_it_runs(exchange: Exchange, client: Any) -> None:
    await client.load_markets()
    exchange.list_market(Market("SOL/USDT", tick=Decimal("0.001")))
    exchange.delist(ETH)
    markets = await client.load_markets(True)
    assert markets["SOL/USDT"]["active"]
    assert markets["SOL/USDT"]["precision"]["price"] == 0.001
    assert not markets.get(ETH, {}).get("active")
    with pytest.raises(ValueError, match="delisted"):
        await exchange.trade(ETH, 1)


async def test_a_client_that_leaves_hears_no_more(exchange: Exchange, client: Any) -> None:
    watched = asyncio.create_task(client.watch_trades_for_symbols(list(SYMBOLS)))
    await exchange.until_subscribed(*SYMBOLS)
    await exchange.trade(BTC, 1)
    await watched
    leaving = asyncio.create_task(client.un_watch_trades_for_symbols(list(SYMBOLS)))
    await until(lambda: not exchange.subscribers(BTC) and not exchange.subscribers(ETH))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)


# Paging, venue by venue.


async def test_binance_pages_trades_from_an_id() -> None:
    async with BinanceExchange(SYMBOLS) as exchange, client_of(exchange) as client:
        client.apiKey = "ccxt asks for one"
        await some_trades(exchange, 2_300)
        fetched: list[int] = []
        while page := await client.publicGetHistoricalTrades(
            {"symbol": "BTCUSDT", "fromId": fetched[-1] + 1 if fetched else 1, "limit": 1000}
        ):
            fetched += [int(trade["id"]) for trade in page]
        assert fetched == list(range(1, 2_301))
        assert len([path for path in exchange.rest.paths() if path.endswith("historicalTrades")]) == 4


async def test_binance_aggregates_the_fills_of_one_order() -> None:
    async with BinanceExchange(SYMBOLS) as exchange, client_of(exchange) as client:
        fills = [Row(BTC, 100, "0.1", "buy", T0, same_order=n > 0) for n in range(3)]
        await exchange.trades([*fills, Row(BTC, 100, "0.7", "buy", T0), Row(BTC, 101, "0.2", "sell", T0 + 5)])
        fetched = await client.fetch_trades(BTC, params={"fromId": 1})
        assert [(trade["id"], trade["amount"]) for trade in fetched] == [("1", 0.3), ("2", 0.7), ("3", 0.2)]
        since = await client.publicGetAggTrades({"symbol": "BTCUSDT", "startTime": T0 + 1})
        assert [int(trade["a"]) for trade in since] == [3]
        assert int(client.last_response_headers["X-MBX-USED-WEIGHT-1M"]) == 20 + 2 * 4


async def test_okx_pages_history_backwards_by_id_and_ids_only_increase() -> None:
    async with OkxExchange(SYMBOLS) as exchange, client_of(exchange) as client:
        made = await some_trades(exchange, 250)
        fetched: list[str] = []
        after: dict[str, str] = {}
        while page := await client.fetch_trades(BTC, params={"method": "publicGetMarketHistoryTrades", **after}):
            fetched = [trade["id"] for trade in page] + fetched
            after = {"after": fetched[0]}
        assert fetched == [trade.id for trade in made]
        steps = {int(b) - int(a) for a, b in itertools.pairwise(fetched)}
        assert steps == {1, 2, 3}


async def test_okx_tells_the_fills_of_one_order_as_one_trade() -> None:
    async with OkxExchange(SYMBOLS) as exchange, client_of(exchange) as client, Watch(client, SYMBOLS) as watch:
        await exchange.until_subscribed(*SYMBOLS)
        fills = await exchange.trades([Row(BTC, 100, "0.1", "buy", T0, same_order=n > 0) for n in range(3)])
        await until(lambda: watch.trades(BTC))
        assert [(trade["id"], trade["amount"]) for trade in watch.trades(BTC)] == [(fills[-1].id, 0.3)]


async def test_bybit_reaches_only_the_last_sixty_trades_and_takes_ten_topics_at_once() -> None:
    names = [f"C{n}/USDT" for n in range(11)]
    async with VENUES["bybit"]([BTC, *names]) as exchange, client_of(exchange) as client:
        made = await some_trades(exchange, 100)
        answer = await client.publicGetV5MarketRecentTrade({"category": "spot", "symbol": "BTCUSDT", "limit": 1000})
        newest_first = [trade.id for trade in reversed(made[-60:])]
        assert [trade["execId"] for trade in answer["result"]["list"]] == newest_first
        async with Watch(client, names):
            await exchange.until_connections(1)
            await until(lambda: exchange.connections and exchange.connections[0].sent)
            assert exchange.connections[0].topics == set()


async def test_another_process_can_be_compared_with() -> None:
    arguments = ["--venue", "okx", "--symbols", "5", "--rate", "2000"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.exchange", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await compare(json.loads(await process.stdout.readline()))
    finally:
        process.terminate()
    assert await process.wait() == 0


async def compare(line: dict[str, Any]) -> None:
    """What a client fetches and what the process's ledger says are the same."""
    symbol, url = line["symbols"][0], f"http://{line['url']}"
    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(10):
            while symbol not in await (await session.get(f"{url}/_ledger")).json():
                pass
        ledger = await (await session.post(f"{url}/_pause")).json()
        still_until_s = time.monotonic() + 0.1
        while time.monotonic() < still_until_s:
            assert await (await session.get(f"{url}/_ledger")).json() == ledger
        answer = await (await session.get(f"{url}/api/v5/market/trades?instId=C000-USDT&limit=500")).json()
    rows = list(reversed(answer["data"]))
    assert ledger[symbol]["count"] == len(rows)
    assert (ledger[symbol]["first_id"], ledger[symbol]["last_id"]) == (rows[0]["tradeId"], rows[-1]["tradeId"])
    shares = [checksum(r["tradeId"], int(r["ts"]), float(r["px"]), float(r["sz"]), r["side"]) for r in rows]
    assert ledger[symbol]["checksum"] == sum(shares) % 2**64
