"""What may have been stored already, and must not be stored again.

The server recognises a repeated id within its duplicate window only. So an input that may have been handled before
(by a predecessor that crashed, or by ourselves before a publish failed) is checked against what is stored: the alert
against the stream ALERTS from a position known to lie before its output, each delivery against its ledger. All other
inputs, which is nearly all of them, are published without a single look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from alerting.audience import Decided
from alerting.causes import Match
from alerting.pipeline import Outbox, deliveries_of
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Reader, Received
from tocsin_common.documents import Subscriber
from tocsin_common.events import TERMINAL_STATES, AlertRaised, AlertSuppressed, DeliveryChanged
from tocsin_common.streams import ALERTS, DELIVERIES
from tocsin_common.subjects import delivery


class Redo:
    """Inputs up to the sequence `through` may have been handled before; `alerts_seq` lies before all their alerts."""

    def __init__(self, bus: Bus, *, through: int, alerts_seq: int) -> None:
        self.through = through
        self.alerts_seq = alerts_seq
        self._bus = bus
        self._reader: Reader | None = None
        self._decided: defaultdict[str, Decided] = defaultdict(Decided)
        self._opened: dict[str, bool] = {}

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

    async def look_up(self, matches: Iterable[Match], subscribers: Mapping[str, Subscriber]) -> None:
        """Look at every ledger that these matches may have opened. Who has one open was to be told."""
        asked: dict[tuple[str, str, str], str] = {}
        for match in matches:
            before = self._decided[match.alert_id]
            for name in () if None in before.spared else before.told or match.rule.subscribers:
                found = deliveries_of(match, subscribers[name]) if name in subscribers else []
                asked |= {(match.alert_id, name, one): delivery(to.channel, one) for one, to in found}
        self._opened.clear()
        async for (alert_id, name, delivery_id), last in last_of(self._bus, DELIVERIES, asked):
            if last is not None:
                self._decided[alert_id].opened.add(name)
                self._opened[delivery_id] = _goes_on(last)

    def without_opened(self, outbox: Outbox) -> Outbox:
        """Leave only deliveries that are not open yet, and work whose delivery has not ended: it may have been begun
        before it was queued. The sender reads the ledger before every attempt, so work given twice is done once."""
        return Outbox(
            alerts=outbox.alerts,
            queued=[opening for opening in outbox.queued if opening.delivery_id not in self._opened],
            due=[due for due in outbox.due if self._opened.get(due.delivery_id, True)],
        )


def _goes_on(message: Received) -> bool:
    event = message.event()
    return isinstance(event, DeliveryChanged) and event.state not in TERMINAL_STATES
