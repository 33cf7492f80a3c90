"""What a round found and has not stored yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.events import Event
from tocsin_common.streams import SIGNALS

Store = Callable[[Sequence[Event]], Awaitable[list[tuple[Event, Stored]]]]
"""Stores events in order, and gives those it may store with their receipts. Raises Unreachable."""

LOOK_BACK_MS = 600_000
"""How much older than the last mark signals are that somebody may have stored after it: clocks of servers differ, and a
mark that a crash of the server took is stored again later."""


class Outbox:
    """Publishes events in order, each once, also when the server no longer remembers their ids.

    `signals_seq` is the sequence on SIGNALS that everything published so far is covered by.
    """

    def __init__(self, bus: Bus, store: Store) -> None:
        self.signals_seq = 0
        self._bus = bus
        self._store = store
        self._events: list[Event] = []
        self._fresh: list[Event] = []
        self._publishing: asyncio.Task[None] | None = None
        self._stored: dict[str, int] = {}
        self._looked_seq = 0
        self._unsure = True

    async def begin(self, signals_seq: int, since_ms: int) -> None:
        """Go on behind a mark that covers SIGNALS up to a sequence, and whose market mark was stored at `since_ms`.

        Signals of later marks are after that sequence, except those that one replica stored while others were still at
        the mark: these were stored later than the market mark.
        """
        first = await self._bus.page(SIGNALS, SIGNALS.events, since_ms=max(1, since_ms - LOOK_BACK_MS), limit=1)
        self.signals_seq = signals_seq
        self._looked_seq = min([signals_seq, *(message.seq - 1 for message in first)])

    def add(self, events: Iterable[Event]) -> None:
        """Take in what is to be published; it stays until it is stored."""
        self._events += events

    def begin_publishing(self) -> None:
        """Have what is there on its way while others are found; whether that works, `publish` will say."""
        if self._publishing is not None and self._publishing.done() and not self._publishing.exception():
            self._publishing = None
        if self._events and self._publishing is None:
            self._publishing = asyncio.create_task(self._publish())

    async def publish(self) -> list[Event]:
        """Store all of it except what is stored already; returns what is new since the last call. Raises Unreachable,
        and keeps it then."""
        if self._publishing is not None:
            publishing, self._publishing = self._publishing, None
            await publishing
        if self._events:
            await self._publish()
        fresh, self._fresh = self._fresh, []
        return fresh

    async def close(self) -> None:
        """Nobody waits for what is still on its way."""
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
            self._publishing = None

    async def _publish(self) -> None:
        if self._unsure:
            await self._look()
        ids = [event.event_id for event in self._events]
        events = [event for event, event_id in zip(self._events, ids, strict=True) if event_id not in self._stored]
        self._unsure = True  # until the receipts are here, nobody knows what is stored
        stored = await self._store(events)
        self._unsure = False
        seqs = [self._stored.pop(event_id, 0) for event_id in ids]
        seqs += [receipt.seq for _, receipt in stored if receipt.stream == SIGNALS.name]
        self.signals_seq = max([self.signals_seq, *seqs])
        self._looked_seq = max(self._looked_seq, self.signals_seq)
        del self._events[: len(ids)]  # others may have come meanwhile
        self._fresh += [event for event, receipt in stored if not receipt.duplicate]

    async def _look(self) -> None:
        """Find the signals stored since the last look, whoever stored them."""
        reader = self._bus.reader(SIGNALS, after=self._looked_seq)
        last_seq = (await self._bus.stream_state(SIGNALS)).last_seq
        try:
            messages = await reader.through(last_seq)
        finally:
            await reader.close()
        self._stored.update((message.message_id, message.seq) for message in messages)
        self._looked_seq = max(self._looked_seq, last_seq)
        self._unsure = False
