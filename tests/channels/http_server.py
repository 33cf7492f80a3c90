"""One HTTP server on the loopback, with the faults every HTTP receiver can commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from aiohttp import web
from tests.channels.record import Fault, Recorder


@dataclass
class HttpServer(Recorder, ABC):
    """A receiver over HTTP: subclasses add routes, accept messages and word their own errors. `host` is the name it
    goes by; it listens on 127.0.0.1."""

    host: str = "127.0.0.1"
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    @abstractmethod
    def add_routes(self, app: web.Application) -> None: ...

    @abstractmethod
    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        """A refusal as this receiver words it."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_hanging()
        if self._runner is not None:
            await self._runner.cleanup()

    async def commit(self, fault: Fault | None, request: web.Request, text: str = "") -> web.Response | None:
        """Commit a fault before anything is accepted; None: go on. A reset after acceptance is left to `answer`. `text`
        is what the message says."""
        if fault is None or fault.after_accept:
            return None
        if fault.hang:
            await self.until_closing()
        if fault.hang or fault.reset:
            return cut(request)
        self.refuse(fault.status or (200 if fault.page else 500), text)
        if fault.page:
            return web.Response(body=fault.page, content_type="text/html", status=fault.status or 200)
        return self.error(fault.status or 500, fault.retry_after_s)

    def answer(self, fault: Fault | None, request: web.Request, response: web.Response) -> web.Response:
        """The answer to an accepted message, unless the connection is to be cut just now."""
        return cut(request) if fault is not None and fault.after_accept else response


def cut(request: web.Request) -> web.Response:
    """Reset the connection; the response returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


@dataclass
class Inbox(HttpServer):
    """A receiver all of whose messages come the same way: `received` is its routes' handler."""

    async def received(self, request: web.Request) -> web.Response:
        """Answer a request: it is counted, read, perhaps spoiled, and else taken."""
        await self.asked()
        body = await request.read()
        fault = self.next_fault()
        text = self.text(body) if fault is not None else ""
        if (response := await self.commit(fault, request, text)) is None:
            response = await self.take(request, body)
            if response.status < 300:
                response = self.answer(fault, request, response)
        return response

    @abstractmethod
    def text(self, body: bytes) -> str:
        """What a message says."""

    @abstractmethod
    async def take(self, request: web.Request, body: bytes) -> web.Response:
        """Accept a message, or refuse it (300 and up)."""
