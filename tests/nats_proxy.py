"""A proxy in front of NATS that sees what is published, and can act before or after it goes on to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

OnPublish = Callable[[str, str, bytes], None]
"""Takes the moment (`before` or `after` the server has it), the subject, and the payload with its headers."""


@dataclass
class NatsProxy:
    """Passes everything on between clients and the server at `target`."""

    target: str
    on_publish: OnPublish
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = urlsplit(self.target)
        back, there = await asyncio.open_connection(to.hostname, to.port)
        for work in (self._requests(reader, there), self._answers(back, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        """Line by line; a publish has its payload behind it, whose length is the line's last word."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                words = line.split()
                published = words and words[0].upper() in (b"PUB", b"HPUB")
                payload = await reader.readexactly(int(words[-1]) + 2) if published else b""
                if published:
                    self.on_publish("before", words[1].decode(), payload)
                there.write(line + payload)
                await there.drain()
                if published:
                    self.on_publish("after", words[1].decode(), payload)
        there.close()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await back.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
