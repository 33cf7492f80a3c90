"""What goes wrong over HTTP, and what was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

REMEMBERED_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived; `at_s` is the event loop's time, `status` what it was answered with."""

    path: str
    query: Mapping[str, str]
    at_s: float
    status: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request answered with an error: 429 and 418 with the seconds to wait, if given."""

    status: int
    retry_after_s: float | None = None


@dataclass
class Rest:
    """The switches of the HTTP side.

    `down`: everything is answered with 500. `delay_s`: every answer waits. `reach`: how many of a symbol's last trades
    are still served; None: all. `body`: every answer is these bytes instead of its own.
    """

    down: bool = False
    delay_s: float = 0.0
    reach: int | None = None
    body: bytes | None = None
    asked: deque[Asked] = field(default_factory=lambda: deque(maxlen=REMEMBERED_REQUESTS))
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusals: deque[Refusal] = field(default_factory=deque)

    def refuse_next(self, n: int = 1, *, status: int = 429, retry_after_s: float | None = 1.0) -> None:
        """Answer the next `n` requests with `status`."""
        self._refusals.extend([Refusal(status, retry_after_s)] * n)

    async def refusal(self) -> Refusal | None:
        """Wait as told; then how this request is refused, if it is."""
        await self.wait(self.delay_s)
        if self._refusals:
            return self._refusals.popleft()
        return Refusal(500) if self.down else None

    async def wait(self, seconds: float) -> None:
        """Let time pass, but not beyond the exchange's end."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), seconds)

    def paths(self) -> list[str]:
        """The paths asked for, oldest first."""
        return [asked.path for asked in self.asked]
