"""One supervised connection: a ccxt instance of its own, its symbols, and a watch over its signs of life.

What ccxt does not do by itself is done here. A frame that cannot be read would end its receive loop without a word: it
is caught, and the symbols of this connection are in doubt. A connection that shows no sign of life (no frame, no answer
to a ping) is replaced. Trades are taken out of ccxt's caches whenever something arrived, not only when ccxt wakes a
waiting call, which holds back the last trade before a quiet spell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from aiohttp import WSMsgType

from market_ingest.sources.live.exchange import in_words
from market_ingest.sources.live.frames import Reader
from market_ingest.sources.live.freshness import PATIENCE, WEIGHT
from tocsin_common.bus.consume import backoff_s
from tocsin_common.errors import TocsinError
from tocsin_common.events import FeedState

log = structlog.get_logger()

DEAD, MISSED = 3.0, 1.6
"""Silences, in pings: a connection without any frame or answered ping this long is dead, or did not answer one ping."""

PAUSE_S_MIN = 0.4
"""No shorter pause of a connection is unusual. It is well below the usual grace: what was lost in it is looked for
before the candles of that time close."""

CONNECT_S = 15.0
"""Until then a new connection has said something, or is tried again."""

LOOK_S = 0.25

SUBSCRIBED_S = 1.0
"""How often ccxt is asked again for what it was asked for."""

ERRORS = "errors of the connection"
"""Of no message's, so that a future of that name ends with the connection alone."""

SIGNS_OF_LIFE = ("TEXT", "BINARY", "PING", "PONG")
"""Kinds of WebSocket messages that only a working connection brings."""

MAX_FRAMES_WAITING = 200_000
"""Frames that may wait while nothing can be published. Beyond it they are dropped, and repaired later."""


Handle = Callable[[Any], None]
"""Takes a message of a WebSocket."""


class ConnectionLost(TocsinError):
    """A connection has to be made anew; `state` says how it was lost."""

    def __init__(self, state: FeedState, reason: str) -> None:
        self.state: FeedState = state
        super().__init__(reason)


class Listener(Protocol):
    """Who is told of a connection's life."""

    def arrived(self) -> None:
        """A frame came: there may be something to collect."""

    def connected(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection, state: FeedState, reason: str) -> None: ...

    def in_doubt(self, connection: Connection, reason: str, detail: str) -> None:
        """Something of its symbols may have been lost, although it lives."""


class Caches(dict[str, Any]):
    """ccxt's caches of trades by symbol, and when each began to fill: `now_ms` is when the frame at hand came."""

    def __init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.since_ms: dict[str, int] = {}

    def __setitem__(self, symbol: str, cache: Any) -> None:
        self.since_ms.setdefault(symbol, self.now_ms)
        super().__setitem__(symbol, cache)


class Cache(list[dict[str, Any]]):
    """Trades of a symbol that did not come by ccxt, which may add others."""

    def getLimit(self, _symbol: str | None, limit: int | None) -> int | None:  # noqa: N802 - ccxt asks all its caches
        return limit


class Connection:
    """The connection of some symbols of one exchange; connects anew whenever it is lost. `read`: takes frames that are
    one trade, which ccxt does not see then."""

    def __init__(
        self, open_exchange: Callable[[], Any], symbols: Sequence[str], listener: Listener, read: Reader | None = None
    ) -> None:
        self.symbols = list(symbols)
        self.connected_s: float | None = None
        self.heard_s = 0.0
        self.paused = False
        """Whether it said nothing for unusually long since this was last set back: what was sent may be lost."""
        self._open = open_exchange
        self._listener = listener
        self._read = read
        self._exchange: Any = None
        self._ping_s = 0.0
        self._pause_s = 0.0
        self._frames = 0
        self._attempt = 0
        self._replaced: str | None = None

    @property
    def alive(self) -> bool:
        return self.connected_s is not None

    @property
    def missed_a_ping(self) -> bool:
        """Whether it lives, but did not answer just now: what was sent meanwhile may be lost."""
        return self.alive and time.monotonic() - self.heard_s > MISSED * self._ping_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            exchange = self._exchange = self._open()
            self._ping_s = exchange.streaming["keepAlive"] / 1000
            self._guard(exchange)
            try:
                await self._watch(exchange)
            except Exception as error:
                self._lost(error)
            finally:
                await self._close(exchange)
            self._attempt += 1
            await asyncio.sleep(backoff_s(self._attempt))

    def replace(self, reason: str) -> None:
        """It answers but does not bring what it should."""
        self._replaced = reason

    def collect(self) -> list[tuple[str, int, list[Any]]]:
        """Take what has arrived: symbols, when (ms) the first trade came, and the trades as ccxt gives them, oldest
        first."""
        if self._exchange is None:
            return []
        self._frames = 0
        found: list[tuple[str, int, list[Any]]] = []
        for symbol in list(self._exchange.trades):
            # The whole cache: some (Coinbase's) keep an index of their own, which clearing does not empty.
            cache, since_ms = self._exchange.trades.pop(symbol), self._exchange.trades.since_ms.pop(symbol)
            if not len(cache):
                continue
            rows, limit = list(cache), getattr(cache, "max_size", None)
            if limit and len(rows) >= limit:
                self._listener.in_doubt(self, "overflow", f"{limit} trades of {symbol} or more at a time")
            found.append((symbol, since_ms, rows))
        if found:
            self._attempt = 0
        return found

    async def _watch(self, exchange: Any) -> None:
        """Until the connection is lost. Raises what ended it."""
        self._replaced, started_s = None, time.monotonic()
        async with asyncio.TaskGroup() as group:
            if exchange.has.get("watchTradesForSymbols"):
                group.create_task(self._subscribe(partial(exchange.watch_trades_for_symbols, self.symbols)))
            elif exchange.has.get("watchTrades"):
                for symbol in self.symbols:
                    group.create_task(self._subscribe(partial(exchange.watch_trades, symbol)))
            else:
                raise ConnectionLost("disconnected", "ccxt.pro has no trade stream of this exchange")
            group.create_task(self._look_for_life(started_s))

    async def _subscribe(self, watch: Callable[[], Any]) -> None:
        """Keep a subscription: ccxt's calls subscribe, wake with a trade, and raise what is wrong.

        A call costs as much as many trades, so the next one comes only after a while, in which errors are waited for.
        """
        while True:
            await watch()
            errors = [_error_of(client) for client in self._exchange.clients.values()]
            if not errors:
                raise ConnectionLost("disconnected", "the connection was closed")
            ended, _ = await asyncio.wait(errors, timeout=SUBSCRIBED_S)
            for error in ended:
                error.result()

    async def _look_for_life(self, started_s: float) -> None:
        while True:
            now_s = time.monotonic()
            if self._replaced is not None:
                raise ConnectionLost("stale", self._replaced)
            if self.connected_s is None and now_s - started_s > CONNECT_S:
                raise ConnectionLost("disconnected", f"nothing was heard within {CONNECT_S:g} s")
            if self.connected_s is not None and now_s - self.heard_s > DEAD * self._ping_s:
                raise ConnectionLost("stale", f"no sign of life for {DEAD * self._ping_s:g} s")
            await asyncio.sleep(LOOK_S)

    def _hear(self) -> None:
        before_s, self.heard_s = self.heard_s, time.monotonic()
        if self.connected_s is None:
            self.connected_s, self.paused, self._pause_s = self.heard_s, False, PAUSE_S_MIN
            self._listener.connected(self)
            return
        pause_s = self.heard_s - before_s
        if pause_s > max(PAUSE_S_MIN, PATIENCE * self._pause_s):
            self.paused = True
        self._pause_s += WEIGHT * (pause_s - self._pause_s)

    def _guard(self, exchange: Any) -> None:
        """See every frame of this instance, and survive those that cannot be read."""
        make_client = exchange.client
        exchange.trades = Caches()

        def client_of(url: str) -> Any:
            client = make_client(url)
            if "handle_message" not in vars(client):
                handle = client.handle_message
                if self._read is not None:
                    symbols = {exchange.market(symbol)["id"]: symbol for symbol in self.symbols}
                    handle = _reading(self._read, symbols, exchange.trades, handle)
                client.handle_message = self._guarded(exchange, client, handle)
            return client

        exchange.client = client_of

    def _guarded(self, exchange: Any, client: Any, handle: Handle) -> Handle:
        def safely(message: Any) -> None:
            if exchange is not self._exchange:
                return
            exchange.trades.now_ms = time.time_ns() // 1_000_000
            try:
                handle(message)
            except Exception as error:
                self._listener.in_doubt(self, "malformed", in_words(error))
            if message.type.name in SIGNS_OF_LIFE:
                client.lastPong = time.time_ns() // 1_000_000  # the pong may wait behind megabytes of frames
                self._hear()
            self._frames += 1
            if self._frames > MAX_FRAMES_WAITING:
                self.collect()
                self._listener.in_doubt(self, "overflow", "nothing could be published")
            self._listener.arrived()

        return safely

    def _lost(self, error: Exception) -> None:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        ours = isinstance(first, ConnectionLost)
        reason = str(first) if ours else in_words(first)
        self.connected_s = None
        self._listener.lost(self, first.state if isinstance(first, ConnectionLost) else "disconnected", reason)
        # What it still brings while it closes is not the beginning of anything: REST gives it.
        self._exchange = None

    async def _close(self, exchange: Any) -> None:
        """What had arrived has been collected; a server that does not answer is not waited for."""
        self.connected_s = None
        self._listener.arrived()
        try:
            await asyncio.wait_for(exchange.close(), timeout=2.0)
        except Exception as error:
            log.debug("closing a lost connection", error=in_words(error))


def _reading(read: Reader, symbols: Mapping[str, str], trades: Caches, handle: Handle) -> Handle:
    """Take what is one trade of ours, and let ccxt handle everything else."""

    def sooner(message: Any) -> None:
        found = read(message.data) if message.type is WSMsgType.TEXT else None
        symbol = None if found is None else symbols.get(found[0])
        if found is None or symbol is None:
            handle(message)
        elif symbol in trades:
            trades[symbol].append(found[1])
        else:
            trades[symbol] = Cache([found[1]])

    return sooner


def _error_of(client: Any) -> asyncio.Future[Any]:
    """What ends only with an error of a ccxt client's connection, or when that is closed."""
    if ERRORS not in client.futures:
        client.future(ERRORS).add_done_callback(_retrieve)
    error: asyncio.Future[Any] = client.futures[ERRORS]
    return error


def _retrieve(error: asyncio.Future[Any]) -> None:
    if not error.cancelled():
        error.exception()  # asyncio complains of exceptions that nobody looked at
