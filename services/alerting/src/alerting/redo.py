"""What may have been stored already, and must not be stored again.

The server recognises a repeated id within its duplicate window only. So an input that may have been handled before
(by a predecessor that crashed, or by ourselves before a publish failed) is checked against what is stored: the alert
against the stream ALERTS from a position known to lie before its output, each delivery against its ledger. All other
inputs, which is nearly all of them, are published without a single look.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from alerting.audience import Decided
from alerting.pipeline import Outbox
from tocsin_common.bus.protocol import Bus, Reader, Received
from tocsin_common.events import TERMINAL_STATES, AlertRaised, AlertSuppressed, DeliveryChanged
from tocsin_common.streams import ALERTS, DELIVERIES

LOOKUPS_AT_ONCE = 64


class Redo:
    """Inputs up to the sequence `through` may have been handled before; `alerts_seq` lies before all their alerts."""

    def __init__(self, bus: Bus, *, through: int, alerts_seq: int) -> None:
        self.through = through
        self.alerts_seq = alerts_seq
        self._bus = bus
        self._reader: Reader | None = None
        self._decided: defaultdict[str, Decided] = defaultdict(Decided)

    async def advance(self, alerts_seq: int) -> None:
        """Everything up to here is published: what is checked later lies behind this position."""
        self.alerts_seq = alerts_seq
        self._decided.clear()
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    async def decided(self) -> Mapping[str, Decided]:
        """What was decided before, by alert. It stands, whatever was set otherwise since."""
        if self._reader is None:
            self._reader = self._bus.reader(ALERTS, after=self.alerts_seq)
        state = await self._bus.stream_state(ALERTS)
        for message in await self._reader.through(state.last_seq):
            match message.event():
                case AlertRaised() as alert:
                    self._decided[alert.alert_id].told = alert.subscribers
                    self._decided[alert.alert_id].revision = alert.rule_revision
                case AlertSuppressed() as spared:
                    self._decided[spared.alert_id].spared.add(spared.subscriber_id)
                    self._decided[spared.alert_id].revision = spared.rule_revision
        return self._decided

    async def without_opened(self, outbox: Outbox) -> Outbox:
        """Leave only deliveries that are not open yet, and work whose delivery has not ended: it may have been begun
        before it was queued. The sender reads the ledger before every attempt, so work given twice is done once."""
        ledger = await self._ledger(outbox.queued)
        missing = {d.delivery_id for d, last in zip(outbox.queued, ledger, strict=True) if last is None}
        waiting = {
            d.delivery_id for d, last in zip(outbox.queued, ledger, strict=True) if last is None or _goes_on(last)
        }
        return Outbox(
            alerts=outbox.alerts,
            queued=[delivery for delivery in outbox.queued if delivery.delivery_id in missing],
            due=[due for due in outbox.due if due.delivery_id in waiting],
        )

    async def _ledger(self, deliveries: Sequence[DeliveryChanged]) -> list[Received | None]:
        found: list[Received | None] = []
        for start in range(0, len(deliveries), LOOKUPS_AT_ONCE):
            part = deliveries[start : start + LOOKUPS_AT_ONCE]
            found += await asyncio.gather(*(self._bus.last(DELIVERIES, delivery.subject) for delivery in part))
        return found


def _goes_on(message: Received) -> bool:
    event = message.event()
    return isinstance(event, DeliveryChanged) and event.state not in TERMINAL_STATES
