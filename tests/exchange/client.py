"""A real ccxt.pro client on a test exchange, and what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import ccxt.pro
from tests.exchange.server import Exchange


@contextlib.asynccontextmanager
async def client_of(exchange: Exchange) -> AsyncIterator[Any]:
    """The venue's client: quick to miss a pong, and without a rate limit."""
    kind: type[Any] = getattr(ccxt.pro, exchange.venue)
    client = kind({**exchange.options(), "streaming": {"keepAlive": 150}, "enableRateLimit": False})
    client.timeout_on_exit = 0
    try:
        yield client
    finally:
        await client.close()


class Watch:
    """Takes every trade a client hears of, across reconnections, and the errors between them.

    It reads the client's caches: what `watch_trades_for_symbols` returns is of one symbol only, and what came of
    another at the same moment is not returned before that one trades again."""

    def __init__(self, client: Any, symbols: Sequence[str]) -> None:
        self.errors: list[Exception] = []
        self._client, self._symbols = client, list(symbols)

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._client.watch_trades_for_symbols(self._symbols)
            except ccxt.pro.NetworkError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)

    def trades(self, symbol: str) -> list[dict[str, Any]]:
        """The symbol's trades as ccxt parsed them, in the order in which they came."""
        return list(self._client.trades.get(symbol, ()))

    def ids(self, symbol: str) -> list[str]:
        """The ids of `trades`."""
        return [trade["id"] for trade in self.trades(symbol)]

    async def until_ids(self, symbol: str, ids: list[str]) -> None:
        """Wait until these are the ids of the symbol's trades, in this order."""
        await until(lambda: self.ids(symbol) == ids, lambda: f"{self.ids(symbol)} is not {ids}")


async def until(
    condition: Callable[[], object], problem: Callable[[], str] = lambda: "", within_s: float = 8.0
) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true in time; `problem` says how things stand.
    """
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, problem()
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def watching(exchange: Exchange, client: Any) -> AsyncIterator[Watch]:
    """Watch every live market, from the moment all are subscribed."""
    symbols = [symbol for symbol, market in exchange.markets.items() if market.live]
    async with Watch(client, symbols) as watch:
        await exchange.until_subscribed(*symbols)
        yield watch
