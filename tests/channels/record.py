"""What all servers share: the record of what they accepted, and the faults they commit on demand."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WEB_PAGE = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """How the next request is answered. The first that applies:

    `hang`: not at all, until the server closes. `reset`: the connection is cut, after the message was accepted
    if `after_accept`. `page`: with these bytes and `status` (200 if none is given). `status`: with that status
    and, if given, the time to wait.
    """

    status: int | None = None
    retry_after_s: float | None = None
    page: bytes = b""
    hang: bool = False
    reset: bool = False
    after_accept: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message as the receiver read it. `key` is the sender's id, where the protocol has one; `ref` is the
    receiver's own. `at_s` is `time.monotonic()`, `at_ms` the wall clock."""

    text: str
    address: str
    key: str
    ref: str
    at_s: float
    at_ms: int
    raw: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was read and answered with an error."""

    status: int
    text: str


@dataclass
class Recorder:
    """Keeps what was accepted and what was refused by a fault, counts what was asked, hands out faults: queued ones
    first, then `always`.

    `on_accept` and `on_refuse` are called when that happened and nothing was answered yet."""

    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    requests: int = 0
    on_accept: Callable[[], None] = lambda: None
    on_refuse: Callable[[], None] = lambda: None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    def next_fault(self) -> Fault | None:
        return self.faults.popleft() if self.faults else self.always

    async def asked(self) -> None:
        async with self._changed:
            self.requests += 1
            self._changed.notify_all()

    async def accept(
        self, *, text: str, address: str, key: str, ref: str, raw: Any, headers: Mapping[str, str] | None = None
    ) -> Accepted:
        now_ms = time.time_ns() // 1_000_000
        message = Accepted(text, address, key, ref, time.monotonic(), now_ms, raw, headers or {})
        async with self._changed:
            self.accepted.append(message)
            self._changed.notify_all()
        self.on_accept()
        return message

    def refuse(self, status: int, text: str) -> None:
        self.refused.append(Refused(status, text))
        self.on_refuse()

    async def wait_for(self, count: int, *, timeout_s: float = 10.0) -> list[Accepted]:
        """Wait until `count` messages are accepted. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.accepted) >= count)
        return self.accepted

    async def wait_for_requests(self, count: int, *, timeout_s: float = 10.0) -> None:
        """Wait until `count` requests have come, whatever became of them. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.requests >= count)

    async def until_closing(self) -> None:
        """How a request hangs."""
        await self._closing.wait()

    def stop_hanging(self) -> None:
        self._closing.set()
