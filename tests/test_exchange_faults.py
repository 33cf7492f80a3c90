"""The switches of the test exchanges, seen through the real ccxt.pro clients: each does what its name says, and what
it destroyed is still in the ledger."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ccxt.pro
import pytest
from tests.exchange import VENUES, BinanceExchange, Exchange, Row, Spoil
from tests.exchange.client import client_of, until, watching

SYMBOLS = ("BTC/USDT", "ETH/USDT")
BTC = SYMBOLS[0]
T0 = 1_700_000_040_000


@pytest.fixture(params=sorted(VENUES))
async def exchange(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    async with VENUES[request.param](SYMBOLS) as venue:
        yield venue


@pytest.fixture
async def client(exchange: Exchange) -> AsyncIterator[Any]:
    async with client_of(exchange) as opened:
        yield opened


async def test_a_dropped_connection_loses_trades_that_http_still_has(exchange: Exchange, client: Any) -> None:
    async with watching(exchange, client) as watch:
        first = await exchange.trade(BTC, 1)
        await watch.until_ids(BTC, [first.id])
        exchange.drop()
        missed = await exchange.trade(BTC, 2)
        await until(lambda: watch.errors)
        await exchange.until_subscribed(*SYMBOLS)
        last = await exchange.trade(BTC, 3)
        await watch.until_ids(BTC, [first.id, last.id])
    fetched = await client.fetch_trades(BTC)
    assert [trade["id"] for trade in fetched] == [first.id, missed.id, last.id]
    assert exchange.accepted == 2


async def test_one_connection_is_dropped_and_the_others_stay() -> None:
    async with BinanceExchange(SYMBOLS) as exchange, aiohttp.ClientSession() as session:
        streams = [await session.ws_connect(f"ws://{exchange.url}/ws/btcusdt@trade") for _ in range(2)]
        await exchange.until_connections(2)
        exchange.drop(exchange.connections[0])
        await exchange.until_connections(1)
        await exchange.trade(BTC, 5)
        assert json.loads(await streams[1].receive_str())["p"] == "5.00000000"
        assert (await streams[0].receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_refused_connections_are_let_in_later(exchange: Exchange, client: Any) -> None:
    exchange.refuse(0.3)
    started_s = time.monotonic()
    async with watching(exchange, client) as watch:
        assert time.monotonic() - started_s >= 0.3
        assert any("503" in str(error) for error in watch.errors)


async def test_a_stalled_connection_says_nothing_until_the_client_gives_it_up(exchange: Exchange, client: Any) -> None:
    async with watching(exchange, client) as watch:
        stalled = set(exchange.connections)
        exchange.stall()
        await exchange.trade(BTC, 1)
        await until(lambda: watch.errors)
        assert isinstance(watch.errors[0], ccxt.pro.RequestTimeout)
        assert watch.trades(BTC) == []
        exchange.unstall()
        await until(lambda: stalled.isdisjoint(exchange.connections))
        await exchange.until_subscribed(*SYMBOLS)
        spoken = await exchange.trade(BTC, 2)
        await watch.until_ids(BTC, [spoken.id])


async def test_delayed_frames_come_late_and_in_order(exchange: Exchange, client: Any) -> None:
    async with watching(exchange, client) as watch:
        exchange.delay(0.2)
        started_s = time.monotonic()
        late = await exchange.trade(BTC, 1)
        exchange.delay(0.0)
        later = await exchange.trade(BTC, 2)
        await watch.until_ids(BTC, [late.id, later.id])
        assert time.monotonic() - started_s >= 0.2


async def test_a_spoiled_frame_is_lost_doubled_overtaken_or_accompanied(exchange: Exchange, client: Any) -> None:
    heard = {Spoil.LOSE: [1, 3], Spoil.DUPLICATE: [1, 2, 2, 3], Spoil.REORDER: [1, 3, 2], Spoil.UNKNOWN: [1, 2, 3]}
    async with watching(exchange, client) as watch:
        for spoil, prices in heard.items():
            before = len(watch.trades(BTC))
            await exchange.trade(BTC, 1)
            exchange.spoil(spoil)
            await exchange.trade(BTC, 2)
            await exchange.trade(BTC, 3)
            await until(lambda before=before, prices=prices: len(watch.trades(BTC)) == before + len(prices))  # type: ignore[misc]
            assert [trade["price"] for trade in watch.trades(BTC)[before:]] == prices
    assert len(exchange.ledger.trades(BTC)) == 3 * len(heard)


async def test_a_poisonous_frame_ends_the_stream_until_the_client_connects_again(
    exchange: Exchange, client: Any
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the client's receive loop dies loudly
    async with watching(exchange, client) as watch:
        for number, spoil in enumerate((Spoil.TRUNCATE, Spoil.NAN, Spoil.HUGE), 1):
            heard = watch.ids(BTC)
            exchange.spoil(spoil)
            await exchange.trades([Row(BTC, 2), Row(BTC, 3)])
            await until(lambda number=number: exchange.accepted == number + 1)  # type: ignore[misc]
            await exchange.until_subscribed(*SYMBOLS)
            again = await exchange.trade(BTC, 4)
            await watch.until_ids(BTC, [*heard, again.id])
    assert [trade.price for trade in exchange.ledger.trades(BTC)] == [2, 3, 4] * 3


async def test_ten_thousand_trades_go_out_in_one_write(exchange: Exchange) -> None:
    # Not through ccxt: when it drains a burst, aiohttp's account of what is unread goes wrong and reading ends.
    market_id = exchange.market_id(exchange.markets[BTC])
    asked = {
        "binance": {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1},
        "okx": {"op": "subscribe", "args": [{"channel": "trades", "instId": market_id}]},
        "bybit": {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]},
    }
    path = {"binance": "/ws", "okx": "/ws/v5/public", "bybit": "/v5/public/spot"}[exchange.venue]
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{exchange.url}{path}") as socket:
        await socket.send_json(asked[exchange.venue])
        await exchange.until_subscribed(BTC)
        writes = exchange.connections[0].writes
        burst = await exchange.trades([Row(BTC, 100 + n % 50) for n in range(10_000)])
        assert exchange.connections[0].writes == writes + 1
        heard: list[str] = []
        last = re.compile(f'[:"]{burst[-1].id}[,"]')
        async with asyncio.timeout(8):
            while not heard or not last.search(heard[-1]):
                heard.append(await socket.receive_str())
    text = "".join(heard)
    assert text.count('"p":"') + text.count('"px":"') == 10_000


async def test_a_refused_request_says_when_to_come_back(exchange: Exchange, client: Any) -> None:
    await client.load_markets()
    for status in (429, 418):
        exchange.rest.refuse_next(status=status, retry_after_s=7)
        with pytest.raises((ccxt.pro.DDoSProtection, ccxt.pro.RateLimitExceeded)):
            await client.fetch_trades(BTC)
        assert client.last_response_headers["Retry-After"] == "7"
        assert await client.fetch_trades(BTC) == []
        assert [asked.status for asked in exchange.rest.asked][-2:] == [status, 200]


async def test_http_can_be_down_slow_and_forgetful(exchange: Exchange, client: Any) -> None:
    await client.load_markets()
    made = await exchange.trades([Row(BTC, 100 + n, ts_ms=T0 + n) for n in range(20)])
    exchange.rest.down = True
    with pytest.raises(ccxt.pro.BaseError):
        await client.fetch_trades(BTC)
    exchange.rest.down = False
    exchange.rest.delay_s, exchange.rest.reach = 0.2, 5
    started_s = time.monotonic()
    fetched = await client.fetch_trades(BTC)
    assert time.monotonic() - started_s >= 0.2
    assert [trade["id"] for trade in fetched] == [trade.id for trade in made[-5:]]


async def test_its_clock_may_be_wrong(exchange: Exchange, client: Any) -> None:
    exchange.clock_offset_ms = -90_000
    trade = await exchange.trade(BTC, 1)
    assert 85_000 < time.time() * 1000 - trade.ts_ms < 95_000
    assert 85_000 < time.time() * 1000 - await client.fetch_time() < 95_000
    exchange.clock_offset_ms = -200_000
    assert (await exchange.trade(BTC, 1)).ts_ms == trade.ts_ms, "time of one symbol's trades never goes back"
