"""A local exchange that speaks Binance spot's wire format: exchangeInfo over HTTP, trades over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

LISTED = ("BTC", "ETH")


class BinanceServer:
    """Knows BTC/USDT and ETH/USDT. Every subscribed connection gets every trade sent."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self.subscribed = asyncio.Event()
        self.connected = 0

    def options(self) -> dict[str, Any]:
        """ccxt options that point every URL here."""
        api = dict.fromkeys(
            ("public", "private", "v1", "sapi", "sapiV2", "sapiV3", "sapiV4", "fapiPublic", "dapiPublic", "eapiPublic"),
            f"http://{self.url}/api/v3",
        )
        return {
            "urls": {"api": {**api, "ws": {"spot": f"ws://{self.url}/stream"}}},
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "has": {"fetchCurrencies": False},
            "streaming": {"keepAlive": 1000},
        }

    async def send(
        self, base: str, trade_id: int, price: str, amount: str = "1.5", *, ts_ms: int | None = None
    ) -> None:
        """One trade to everybody."""
        ts_ms = ts_ms or time.time_ns() // 1_000_000
        trade = {"e": "trade", "E": ts_ms, "s": f"{base}USDT", "t": trade_id, "p": price, "q": amount, "T": ts_ms}
        await self.send_text(json.dumps({**trade, "m": True, "M": True}))

    async def send_text(self, text: str) -> None:
        for connection in list(self.connections):
            await connection.send_str(text)

    async def drop(self) -> None:
        """Cut every connection without saying goodbye."""
        self.subscribed.clear()
        for transport in self.connections.values():
            transport.abort()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", self._exchange_info)
        app.router.add_get("/stream/{number}", self._stream)
        return app

    async def _exchange_info(self, _request: web.Request) -> web.Response:
        return web.json_response({"timezone": "UTC", "rateLimits": [], "symbols": [_market(base) for base in LISTED]})

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        self.connected += 1
        async for message in connection:
            if message.type is WSMsgType.TEXT:
                asked = json.loads(message.data)
                await connection.send_json({"result": None, "id": asked["id"]})
                assert request.transport is not None
                self.connections[connection] = request.transport
                self.subscribed.set()
        self.connections.pop(connection, None)
        return connection


def _market(base: str) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT",
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        ],
    }


@pytest.fixture
async def binance() -> AsyncIterator[BinanceServer]:
    """A fresh local exchange."""
    server = BinanceServer()
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"{host}:{port}"
    yield server
    await runner.cleanup()
