"""The WebSocket side of every exchange: who is connected, who subscribed to what, and the switches."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import ClassVar

from aiohttp import WSMsgType, web
from tests.exchange.connection import Connection, Spoil, Wording


class Wire(ABC):
    """Connections and subscriptions. A switch works on one connection (`only`) or on all there are.

    Attributes:
        connections: the open connections, oldest first.
        accepted: how many there have been.
    """

    wording: ClassVar[Wording]

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.accepted = 0
        self._subscribers: dict[str, list[Connection]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._stalled = False
        self._delay_s = 0.0
        self._refusing_until_s = 0.0

    @abstractmethod
    def received(self, connection: Connection, text: str) -> None:
        """Handle a client's text frame."""

    @abstractmethod
    def trade_topics(self, symbol: str) -> Sequence[str]:
        """The topics on which a symbol's trades are told."""

    def connected(self, connection: Connection, request: web.Request) -> None:  # noqa: B027
        """Greet a client; most venues do not."""

    # Switches.

    def drop(self, only: Connection | None = None) -> None:
        """Cut connections without a close frame."""
        for connection in self._meant(only):
            connection.abort()
            self._forget(connection)

    def refuse(self, seconds: float) -> None:
        """Refuse new WebSocket connections for a while, with 503."""
        self._refusing_until_s = time.monotonic() + seconds

    def stall(self, only: Connection | None = None) -> None:
        """Fall silent: send nothing, answer no ping. Without `only`, new connections too, until `unstall`."""
        self._stalled = self._stalled or only is None
        for connection in self._meant(only):
            connection.stalled = True

    def unstall(self, only: Connection | None = None) -> None:
        """Speak again. What was not sent meanwhile is lost."""
        self._stalled = self._stalled and only is not None
        for connection in self._meant(only):
            connection.stalled = False

    def delay(self, seconds: float, only: Connection | None = None) -> None:
        """From now on frames wait, in order. Without `only`, on new connections too."""
        self._delay_s = seconds if only is None else self._delay_s
        for connection in self._meant(only):
            connection.delay_s = seconds

    def spoil(self, spoil: Spoil, n: int = 1, only: Connection | None = None) -> None:
        """Spoil the next `n` trade frames."""
        for connection in self._meant(only):
            connection.spoils.extend([spoil] * n)

    def _meant(self, only: Connection | None) -> list[Connection]:
        return list(self.connections) if only is None else [only]

    # Connections.

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Speak with a WebSocket client until it goes."""
        if time.monotonic() < self._refusing_until_s:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False, compress=False)
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket
        self.accepted += 1
        connection = Connection(self.accepted, request.path_qs, transport, self.wording)
        connection.stalled, connection.delay_s = self._stalled, self._delay_s
        self.connections.append(connection)
        try:
            self.connected(connection, request)
            await self._notify()
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.received(connection, message.data)
                    await self._notify()
                elif message.type is WSMsgType.PING and not connection.stalled:
                    await socket.pong(message.data)
        finally:
            self._forget(connection)
            await self._notify()
        return socket

    def subscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        """From now on the connection hears of these topics."""
        for topic in topics:
            if topic not in connection.topics:
                connection.topics.add(topic)
                self._subscribers[topic].append(connection)

    def unsubscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        """From now on it does not."""
        for topic in topics:
            if topic in connection.topics:
                connection.topics.discard(topic)
                self._subscribers[topic].remove(connection)

    def listeners(self, topic: str) -> Sequence[Connection]:
        """The connections that subscribed to a topic."""
        return self._subscribers.get(topic, ())

    def subscribers(self, symbol: str) -> list[Connection]:
        """The connections that hear of a symbol's trades."""
        return [connection for topic in self.trade_topics(symbol) for connection in self.listeners(topic)]

    async def until_subscribed(self, *symbols: str, timeout_s: float = 10.0) -> None:
        """Wait until somebody hears of the trades of each symbol.

        Raises:
            TimeoutError: that did not come to pass in time.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: all(self.subscribers(symbol) for symbol in symbols))

    async def until_connections(self, n: int, *, timeout_s: float = 10.0) -> None:
        """Wait until exactly `n` connections are open.

        Raises:
            TimeoutError: that did not come to pass in time.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.connections) == n)

    def _forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            self.unsubscribe(connection, list(connection.topics))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
