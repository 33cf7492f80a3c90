"""Where a stream speaks of an id. Subjects name no alerts and no signals, so it is learned by reading when first asked.

Only positions are remembered; what stands there is read from the stream again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed
from tocsin_common.events import AnyEvent
from tocsin_common.streams import Stream

REMEMBERED = 50_000
"""Messages of each stream, the newest: months of alerts for a household, about 15 MB."""

PAGE = 1_000

IdsOf = Callable[[AnyEvent], Iterable[str]]
"""The ids that an event can be asked for by."""


class Whereabouts:
    """The sequences of the newest messages of one stream, by the ids they speak of."""

    def __init__(self, bus: Bus, stream: Stream, ids_of: IdsOf) -> None:
        self._bus, self._stream, self._ids_of = bus, stream, ids_of
        self._places: dict[str, list[int]] = {}
        self._order: deque[tuple[int, tuple[str, ...]]] = deque()
        self._through = 0
        self._learning = asyncio.Lock()

    async def messages(self, wanted: str) -> list[Received]:
        """Everything that speaks of an id, in the order of the stream. Raises Unreachable."""
        await self._learn()
        found = []
        for seq in self._places.get(wanted, ()):
            found += await self._bus.reader(self._stream, after=seq - 1).through(seq)
        return found

    async def _learn(self) -> None:
        """Read what has come since the last time."""
        async with self._learning:
            end = (await self._bus.stream_state(self._stream)).last_seq
            self._through = max(self._through, end - REMEMBERED)
            while self._through < end:
                page_end = min(self._through + PAGE, end)
                for message in await self._bus.reader(self._stream, after=self._through).through(page_end):
                    self._note(message)
                self._through = page_end

    def _note(self, message: Received) -> None:
        try:
            ids = tuple(dict.fromkeys(self._ids_of(message.event())))
        except Malformed:
            return
        for name in ids:
            self._places.setdefault(name, []).append(message.seq)
        self._order.append((message.seq, ids))
        if len(self._order) > REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        seq, ids = self._order.popleft()
        for name in ids:
            self._places[name].remove(seq)
            if not self._places[name]:
                del self._places[name]
