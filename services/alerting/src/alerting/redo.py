"""What may have been stored already, and must not be stored again.

The server recognises a repeated id within its duplicate window only. So an input that may have been handled before
(by a predecessor that crashed, or by ourselves before a publish failed) is checked against what is stored: the alert
against the stream ALERTS from a position known to lie before its output, each delivery against its ledger. All other
inputs, which is nearly all of them, are published without a single look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alerting.pipeline import Outbox
from tocsin_common.bus.protocol import Bus, Reader, Received
from tocsin_common.events import TERMINAL_STATES, DeliveryChanged
from tocsin_common.streams import ALERTS, DELIVERIES

LOOKUPS_AT_ONCE = 64


class Redo:
    """Inputs up to the sequence `through` may have been handled before; `alerts_seq` lies before all their alerts."""

    def __init__(self, bus: Bus, *, through: int, alerts_seq: int) -> None:
        self.through = through
        self.alerts_seq = alerts_seq
        self._bus = bus
        self._reader: Reader | None = None
        self._stored: set[str] = set()

    async def advance(self, alerts_seq: int) -> None:
        """Everything up to here is published: what is checked later lies behind this position."""
        self.alerts_seq = alerts_seq
        self._stored.clear()
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    async def without_stored(self, outbox: Outbox) -> Outbox:
        """Leave only what is missing. Work is due again until its delivery has ended: it may have been begun before it
        was queued. The sender reads the ledger before every attempt, so work given twice is done once."""
        await self._read_alerts()
        ledger = await self._ledger(outbox.queued)
        missing = {d.delivery_id for d, last in zip(outbox.queued, ledger, strict=True) if last is None}
        waiting = {
            d.delivery_id for d, last in zip(outbox.queued, ledger, strict=True) if last is None or _goes_on(last)
        }
        return Outbox(
            alerts=[alert for alert in outbox.alerts if alert.event_id not in self._stored],
            queued=[delivery for delivery in outbox.queued if delivery.delivery_id in missing],
            due=[due for due in outbox.due if due.delivery_id in waiting],
        )

    async def _read_alerts(self) -> None:
        if self._reader is None:
            self._reader = self._bus.reader(ALERTS, after=self.alerts_seq)
        state = await self._bus.stream_state(ALERTS)
        self._stored.update(message.message_id for message in await self._reader.through(state.last_seq))

    async def _ledger(self, deliveries: Sequence[DeliveryChanged]) -> list[Received | None]:
        found: list[Received | None] = []
        for start in range(0, len(deliveries), LOOKUPS_AT_ONCE):
            part = deliveries[start : start + LOOKUPS_AT_ONCE]
            found += await asyncio.gather(*(self._bus.last(DELIVERIES, delivery.subject) for delivery in part))
        return found


def _goes_on(message: Received) -> bool:
    event = message.event()
    return isinstance(event, DeliveryChanged) and event.state not in TERMINAL_STATES
