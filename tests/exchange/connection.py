"""One WebSocket connection as the exchange sees it: what it subscribed to, and what goes wrong on its way out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

HUGE_BYTES = 10 * 1024 * 1024
HELD_S = 0.25
"""How long a frame to be overtaken waits for another one."""
UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""A reader this far behind is disconnected, as exchanges do."""


class Spoil(StrEnum):
    """What happens to the next trade frame of a connection.

    `LOSE`: it is not sent. `DUPLICATE`: it is sent twice. `REORDER`: the next one overtakes it. `TRUNCATE`: its second
    half is missing. `NAN`: its prices are "NaN". `UNKNOWN`: a copy for a symbol nobody lists goes before it. `HUGE`: a
    copy of more than 10 MiB goes before it.
    """

    LOSE = "lose"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    TRUNCATE = "truncate"
    NAN = "nan"
    UNKNOWN = "unknown"
    HUGE = "huge"


@dataclass(frozen=True, slots=True)
class Wording:
    """How a venue's trade frame is falsified: with a price that is no number, with a symbol nobody lists."""

    nan: Callable[[str], str]
    unknown: Callable[[str], str]


@dataclass(eq=False)
class Connection:
    """A client's connection. `stalled`: nothing goes out and pings stay unanswered; what was to be sent is lost.
    `delay_s`: everything waits that long, in order. `topics` are the venue's names of what is subscribed.
    `sent` frames went out in `writes` writes."""

    number: int
    path: str
    transport: asyncio.Transport
    wording: Wording
    topics: set[str] = field(default_factory=set)
    stalled: bool = False
    delay_s: float = 0.0
    spoils: deque[Spoil] = field(default_factory=deque)
    sent: int = 0
    writes: int = 0
    _held: str | None = None
    _waiting: deque[bytes] = field(default_factory=deque)
    _due_s: float = 0.0

    def send_trades(self, texts: Sequence[str]) -> None:
        """Send trade frames in one write, spoiled as ordered."""
        if self.spoils or self._held is not None:
            texts = [sent for text in texts for sent in self._spoiled(text)]
        self.send(texts)

    def send(self, texts: Sequence[str]) -> None:
        """Send text frames in one write."""
        if self.stalled or not texts or self.transport.is_closing():
            return
        self.sent += len(texts)
        data = b"".join(text_frame(text.encode()) for text in texts)
        if self.delay_s or self._waiting:
            self._wait(data)
        else:
            self._write(data)

    def abort(self) -> None:
        """Cut the connection, without a close frame."""
        self.transport.abort()

    def _spoiled(self, text: str) -> list[str]:
        overtaken, self._held = self._held, None
        spoil = self.spoils.popleft() if self.spoils else None
        if spoil is Spoil.REORDER and overtaken is None:
            self._held = text
            asyncio.get_running_loop().call_later(HELD_S, self._release, text)
            return []
        sent = spoiled(text, spoil, self.wording)
        return sent if overtaken is None else [*sent, overtaken]

    def _release(self, text: str) -> None:
        if self._held is text:
            self._held = None
            self.send([text])

    def _wait(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._due_s = max(self._due_s, loop.time() + self.delay_s)
        self._waiting.append(data)
        loop.call_at(self._due_s, self._write_next)

    def _write_next(self) -> None:
        # Timers of one instant have no order; the data has.
        data = self._waiting.popleft()
        if not self.stalled:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self.writes += 1
        self.transport.write(data)
        if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.abort()


def spoiled(text: str, spoil: Spoil | None, wording: Wording) -> list[str]:
    """The frames that go out instead of `text`."""
    if spoil is Spoil.LOSE:
        return []
    if spoil is Spoil.DUPLICATE:
        return [text, text]
    if spoil is Spoil.TRUNCATE:
        return [text[: len(text) // 2]]
    if spoil is Spoil.NAN:
        return [wording.nan(text)]
    if spoil is Spoil.UNKNOWN:
        return [wording.unknown(text), text]
    if spoil is Spoil.HUGE:
        return [f'{text[:-1]},"padding":"{"x" * HUGE_BYTES}"}}', text]
    return [text]


def text_frame(payload: bytes) -> bytes:
    """A WebSocket text frame of a server (RFC 6455, 5.2: final, unmasked)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
