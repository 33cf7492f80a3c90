"""Bursts through the real ccxt.pro and the real aiohttp: what waits is read, however much it is."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import WSMsgType, web

from market_ingest.sources.backlog import OVERHEAD, keep_accounts

BURSTS, MESSAGES = 8, 2_000
"""Together far more messages than an uncounted overhead each leaves room for (128 KiB)."""


async def burst(request: web.Request) -> web.WebSocketResponse:
    """Once spoken to, sends small frames of which many wait together."""
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    async for message in connection:
        if message.type is WSMsgType.TEXT:
            for number in range(MESSAGES):
                await connection.send_str(f'{{"number":{number}}}')
    return connection


async def test_many_bursts_of_small_messages_do_not_stop_a_connection() -> None:
    assert OVERHEAD > 0, "aiohttp counts otherwise now: see whether this room is still needed"
    from ccxt.async_support.base.ws.client import Client

    keep_accounts()
    keep_accounts()
    app = web.Application()
    app.router.add_get("/", burst)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    exchange, heard, all_heard = client_of("http://{}:{}/".format(*runner.addresses[0][:2]))
    try:
        client = exchange.client(exchange.urls["api"]["ws"])
        assert isinstance(client, Client)
        await client.connect(exchange.session)
        for times in range(1, BURSTS + 1):
            all_heard.clear()
            await client.send("more")
            await asyncio.wait_for(all_heard.wait(), 20)
            assert heard == [*range(MESSAGES)] * times
    finally:
        await exchange.close()
        await runner.cleanup()


def client_of(url: str) -> tuple[Any, list[int], asyncio.Event]:
    """A ccxt exchange whose messages are only listed; the event is set by the last one of a burst."""
    from ccxt.async_support.base.exchange import Exchange

    heard: list[int] = []
    all_heard = asyncio.Event()

    def listen(_client: Any, message: dict[str, int]) -> None:
        heard.append(message["number"])
        if message["number"] == MESSAGES - 1:
            all_heard.set()

    exchange = Exchange({"urls": {"api": {"ws": url}}})
    exchange.handle_message = listen
    exchange.open()
    return exchange, heard, all_heard
