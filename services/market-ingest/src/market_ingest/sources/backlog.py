"""What waits on a connection is counted as aiohttp counts it, so that no burst stops the connection for ever.

aiohttp pauses a WebSocket while too much waits in its queue, and counts every waiting message with an overhead of its
own (since 3.14.4). ccxt's receive loop empties that queue behind aiohttp's back and gives back the sizes alone. The
overhead of each message stays counted: after some thousand that came in bunches the queue seems full for good, and
nothing is read again, not even the answer to a ping.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from aiohttp._websocket import reader_py

OVERHEAD: int = getattr(reader_py, "MSG_SIZE_OVERHEAD", 0)
"""Bytes aiohttp adds to each waiting message; older versions add none."""

Waiting = tuple[Any, int]
"""A message and its size in bytes."""


class Backlog:
    """The queue of a connection with the part of a deque ccxt uses: what is taken out weighs what it weighed in it."""

    def __init__(self, waiting: deque[Waiting]) -> None:
        self._waiting = waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def __getitem__(self, at: int) -> Waiting:
        return self._waiting[at]

    def __setitem__(self, at: int, entry: Waiting) -> None:
        self._waiting[at] = entry

    def popleft(self) -> Waiting:
        """The oldest message, its size with the overhead."""
        message, size = self._waiting.popleft()
        return message, size + OVERHEAD


def keep_accounts() -> None:
    """Let every connection of ccxt.pro be counted rightly, from now on and for the whole process."""
    from ccxt.async_support.base.ws.client import Client

    theirs = Client.buffer.fget
    if theirs.__module__ == __name__:
        return

    def buffer(client: Any) -> Backlog | None:
        waiting = theirs(client)
        return None if waiting is None else Backlog(waiting)

    Client.buffer = property(buffer)
