"""What may have been stored already, and must not be stored again.

The server recognises a repeated id within its duplicate window only. So an input that may have been handled before
(by a predecessor that crashed, or by ourselves before a publish failed) is checked against what is stored: the alert
against the stream ALERTS from a position known to lie before its output, each delivery against its ledger, what was put
aside against DIGESTS. All other inputs, which is nearly all of them, are published without a single look.

A delivery that has not ended is due again: it may have been begun before it was queued. The sender reads the ledger
before every attempt, so work given twice is done once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from alerting.judging.audience import Decided
from alerting.matching.causes import Match
from alerting.pipeline import deliveries_of
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Reader
from tocsin_common.documents import Subscriber
from tocsin_common.events import AlertRaised, AlertSuppressed, DeliveryChanged
from tocsin_common.streams import ALERTS, DELIVERIES, DIGESTS
from tocsin_common.subjects import delivery, digest_line


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

    async def look_up(self, matches: Iterable[Match], subscribers: Mapping[str, Subscriber]) -> None:
        """Look at every ledger that these matches may have opened. Who has one open was to be told."""
        asked: dict[tuple[str, str, str], str] = {}
        for match in matches:
            before = self._decided[match.alert_id]
            for name in () if None in before.spared else before.told or match.rule.subscribers:
                found = deliveries_of(match, subscribers[name]) if name in subscribers else []
                asked |= {(match.alert_id, name, one): delivery(to.channel, one) for one, _, to in found}
        aside: dict[tuple[str, str], str] = {}
        async for (alert_id, name, delivery_id), last in last_of(self._bus, DELIVERIES, asked):
            change = last.event() if last else None
            if isinstance(change, DeliveryChanged):
                self._decided[alert_id].opened.add(name)
                self._decided[alert_id].ledgers[delivery_id] = change.state
                if change.state == "aside":
                    aside[alert_id, delivery_id] = digest_line(change.channel, name, delivery_id)
        async for (alert_id, delivery_id), line in last_of(self._bus, DIGESTS, aside):
            if line is not None:
                self._decided[alert_id].ledgers[delivery_id] = "digested"  # it will be: nothing is left to do here
