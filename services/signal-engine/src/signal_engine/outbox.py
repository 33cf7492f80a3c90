"""What a round found and has not stored yet."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin_common.bus.protocol import Bus
from tocsin_common.events import Event
from tocsin_common.streams import SIGNALS


class Outbox:
    """Publishes events in order, each once, also when the server no longer remembers their ids.

    `signals_seq` is the sequence on SIGNALS that everything published so far is covered by.
    """

    def __init__(self, bus: Bus, signals_seq: int = 0) -> None:
        self.signals_seq = signals_seq
        self._bus = bus
        self._events: list[Event] = []
        self._stored: dict[str, int] = {}
        self._unsure = True

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Iterable[Event]) -> None:
        """Take in what is to be published; it stays until it is stored."""
        self._events += events

    async def publish(self) -> list[Event]:
        """Store all of it except what is stored already; returns what is new. Raises Unreachable, and keeps it then."""
        if self._unsure:
            await self.look()
        events = [event for event in self._events if event.event_id not in self._stored]
        seqs = [self._stored.pop(event.event_id, 0) for event in self._events]
        self._unsure = True  # until the receipts are here, nobody knows what is stored
        receipts = await self._bus.publish(events)
        self._unsure = False
        seqs += [receipt.seq for receipt in receipts if receipt.stream == SIGNALS.name]
        self.signals_seq = max([self.signals_seq, *seqs])
        self._events.clear()
        return [event for event, receipt in zip(events, receipts, strict=True) if not receipt.duplicate]

    async def look(self) -> None:
        """Find the signals stored after those that `signals_seq` covers."""
        reader = self._bus.reader(SIGNALS, after=self.signals_seq)
        try:
            messages = await reader.through((await self._bus.stream_state(SIGNALS)).last_seq)
        finally:
            await reader.close()
        self._stored = {message.message_id: message.seq for message in messages}
        self._unsure = False
