"""A local server that says again what was recorded: REST bodies when asked, frames once somebody subscribed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from aiohttp import WSMsgType, web


@dataclass(frozen=True)
class Answer:
    """The body of a request to `address` (host and path) whose query has at least `query`."""

    address: str
    body: str
    query: Mapping[str, str] = field(default_factory=dict)


class RecordedExchange:
    """Serves `http://127.0.0.1:<port>/<host><path>` for whatever `<host><path>` was recorded.

    Every connection to a recorded address gets all its frames after its first message, then silence.
    """

    def __init__(self, answers: Sequence[Answer], frames: Mapping[str, Sequence[str]]) -> None:
        self.asked: list[str] = []
        """What was subscribed to, as the client put it."""
        self.unanswered: list[str] = []
        """Requests nothing was recorded for: they got a 404."""
        self.sent = asyncio.Event()
        """All frames of a connection are sent."""
        self._answers = answers
        self._frames = frames
        self._runner: web.AppRunner | None = None
        self._host = ""

    def options(self, exchange: Any) -> dict[str, Any]:
        """Constructor options for a ccxt client like `exchange`: the same addresses, with this server before them."""
        return {
            "urls": {"api": self._moved(exchange.urls["api"])},
            "has": {"fetchCurrencies": False},
        }

    def local(self, url: str) -> str:
        """A real address with this server before it."""
        scheme, _, address = url.partition("://")
        return f"{'ws' if scheme == 'wss' else 'http'}://{self._host}/{address}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{address:.+}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._host = "{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _moved(self, urls: Any) -> Any:
        if isinstance(urls, dict):
            return {name: self._moved(url) for name, url in urls.items()}
        return self.local(urls)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        address = request.match_info["address"]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._converse(request, address)
        for answer in self._answers:
            if answer.address == address and answer.query.items() <= dict(request.query).items():
                body = answer.body.replace("{server}", self._host)
                return web.Response(text=body, content_type="application/json")
        self.unanswered.append(f"{request.method} {request.path_qs}")
        raise web.HTTPNotFound

    async def _converse(self, request: web.Request, address: str) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        sending: asyncio.Task[None] | None = None
        async for message in connection:
            if message.type is not WSMsgType.TEXT:
                continue
            pong = _pong(message.data)
            if pong is not None:
                await connection.send_str(pong)
                continue
            self.asked.append(message.data)
            if sending is None and "subscribe" in message.data.lower():
                sending = asyncio.create_task(self._send(connection, address))
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return connection

    async def _send(self, connection: web.WebSocketResponse, address: str) -> None:
        for recorded, frames in self._frames.items():
            if address.startswith(recorded):
                for frame in frames:
                    await connection.send_str(frame)
        self.sent.set()


def _pong(text: str) -> str | None:
    """The answer to a ping that is a message of its own (OKX's text; Bybit's, Kraken's, KuCoin's object), or None."""
    if text == "ping":
        return "pong"
    message = msgspec.json.decode(text)
    for name in ("op", "method", "type"):
        if message.get(name) == "ping":
            return msgspec.json.encode({**message, name: "pong"}).decode()
    return None
