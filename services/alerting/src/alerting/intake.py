"""From a stream to the pipeline: in order, from where a predecessor stopped, and never the same alert twice.

An intake consumes one stream. It keeps the last prices, so what it remembers (a snapshot in a bucket) carries the
sequence it belongs to: a restart goes back to that sequence, learns the prices again up to what was already
acknowledged, and from there on alerts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from alerting.causes import Cause, Match
from alerting.limits import Rung
from alerting.metrics import Metrics
from alerting.pipeline import Outbox, Pipeline
from alerting.prices import PriceWatch
from alerting.recall import recall
from alerting.redo import Redo
from alerting.rules import Rules
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import AlertRule
from tocsin_common.errors import Rejected
from tocsin_common.events import (
    AlertRaised,
    AnyEvent,
    CandlesClosed,
    DeliveryChanged,
    Event,
    SendDue,
    SignalRaised,
    TradesReceived,
)
from tocsin_common.streams import ALERTS, SNAPSHOTS, Durable

log = structlog.get_logger()

SNAPSHOT_EVERY_S = 5.0

Found = Iterable[tuple[AlertRule, Cause]]

HandOver = Callable[[SendDue, DeliveryChanged, int], None]
"""Takes work by the hand whose ledger was opened just now: the work, the entry, and the entry's sequence."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake remembers after its stream's sequence `seq`; identities tell when a stream was made anew."""

    stream: str
    seq: int
    alerts_stream: str
    alerts_seq: int
    prices: list[tuple[str, str, float, int]]


class Intake:
    """Consumes one durable. Give `handle` to the in-order loop, starting after what `start` returned."""

    def __init__(
        self, bus: Bus, durable: Durable, rules: Rules, pipeline: Pipeline, metrics: Metrics, hand_over: HandOver
    ) -> None:
        self.durable = durable
        self._hand_over = hand_over
        self._bus = bus
        self._rules = rules
        self._pipeline = pipeline
        self._metrics = metrics
        self._watch = PriceWatch(rules)
        self._rung = Rung()
        self._redo = Redo(bus, through=0, alerts_seq=0)
        self._silent_through = 0
        self._handled_through = 0
        self._identities = ("", "")
        self._snapshot_due_s = 0.0

    async def start(self) -> int | None:
        """Remember where the predecessor was. Returns the sequence to go on after (None: the acknowledgement floor)."""
        stream = await self._bus.stream_state(self.durable.stream)
        alerts = await self._bus.stream_state(ALERTS)
        self._identities = (stream.identity, alerts.identity)
        self._silent_through = (await self._bus.durable_state(self.durable)).ack_floor_seq
        snapshot = await self._load()
        same_alerts = snapshot is not None and snapshot.alerts_stream == alerts.identity
        alerts_seq = snapshot.alerts_seq if snapshot and same_alerts else 0
        self._redo = Redo(self._bus, through=stream.last_seq, alerts_seq=alerts_seq)
        if snapshot is None or snapshot.stream != stream.identity:
            return None
        for exchange, symbol, price, ts_ms in snapshot.prices:
            self._watch.last.settled[exchange, symbol] = (price, ts_ms)
        self._handled_through = snapshot.seq
        return snapshot.seq

    async def handle(self, batch: Sequence[Incoming]) -> Sequence[Event]:
        """Publish what follows from a batch; the due work is left to the caller. The same batch may come again.

        Alerts and the ledger's first entries are stored side by side: nobody acts on either before both are. Work is
        handed over at once then; through its queue it comes all the same, for whom a crash leaves it to.
        """
        outbox = await self.decide(batch)
        announcing = asyncio.ensure_future(self._bus.publish(outbox.alerts))
        opening = asyncio.ensure_future(self._bus.publish(outbox.queued))
        await asyncio.wait((announcing, opening))  # both have ended before a failure of one is told
        announcing.result()
        opened = zip(outbox.queued, opening.result(), strict=True)
        fresh = {change.delivery_id: (change, stored.seq) for change, stored in opened if not stored.duplicate}
        for due in outbox.due:
            if due.delivery_id in fresh:
                self._hand_over(due, *fresh[due.delivery_id])
        return outbox.due

    async def decide(self, batch: Sequence[Incoming]) -> Outbox:
        """Turn a batch into alerts, ledger entries and due work."""
        first, last = batch[0].message.seq, batch[-1].message.seq
        await self._settle(first)
        self._handled_through = last
        again = first <= self._redo.through
        before = await self._redo.decided() if again else {}
        matches = self._matches(batch)
        await recall(self._bus, self._rung, matches)
        outbox = self._pipeline.run(matches, self._rung, before, now_ms=time.time_ns() // 1_000_000)
        if again:
            outbox = await self._redo.without_opened(outbox)
        self._redo.through = max(self._redo.through, last)
        self._count(outbox)
        return outbox

    async def _settle(self, first: int) -> None:
        """A batch that goes on where the last one ended proves that one published; otherwise that one comes again."""
        if first <= self._handled_through:
            self._watch.last.revert()
            self._rung.revert()
            return
        self._watch.last.settle()
        self._rung.settle()
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._snapshot_due_s:
            await self._save(after_redo=first > self._redo.through)
            self._snapshot_due_s = now_s + SNAPSHOT_EVERY_S

    def _matches(self, batch: Sequence[Incoming]) -> list[Match]:
        """Every match in the batch; acknowledged input only teaches prices, it has had its alerts."""
        matches = []
        for item in batch:
            found = list(self._find(item.event))
            if item.message.seq > self._silent_through:
                matches += [
                    Match.of(rule, self._rules.revision(rule), cause, item.message.stored_ms) for rule, cause in found
                ]
        return matches

    def _find(self, event: AnyEvent) -> Found:
        match event:
            case SignalRaised():
                return ((rule, event) for rule in self._rules.for_signal(event))
            case TradesReceived():
                return self._watch.in_trades(event)
            case CandlesClosed():
                return self._watch.in_candles(event)
        raise Rejected("unexpected_type", f"{type(event).__name__} has no business on {self.durable.stream.name}")

    def _count(self, outbox: Outbox) -> None:
        for alert in outbox.alerts:
            if isinstance(alert, AlertRaised):
                self._metrics.matched.labels(alert.kind).inc()
            else:
                self._metrics.suppressed.labels(alert.reason).inc()
        for delivery in outbox.queued:
            self._metrics.queued.labels(delivery.channel).inc()

    async def _load(self) -> Snapshot | None:
        entry = await self._bus.bucket(SNAPSHOTS).get(self.durable.name)
        if entry is None or entry.value is None:
            return None
        try:
            return msgspec.json.decode(entry.value, type=Snapshot)
        except msgspec.DecodeError as error:
            log.warning("snapshot ignored, prices start anew", key=self.durable.name, problem=str(error))
            return None

    async def _save(self, *, after_redo: bool) -> None:
        if after_redo:
            await self._redo.advance((await self._bus.stream_state(ALERTS)).last_seq)
        stream, alerts = self._identities
        snapshot = Snapshot(
            stream=stream,
            seq=self._handled_through,
            alerts_stream=alerts,
            alerts_seq=self._redo.alerts_seq,
            prices=[(*instrument, *price) for instrument, price in self._watch.last.settled.items()],
        )
        await self._bus.bucket(SNAPSHOTS).put(self.durable.name, msgspec.json.encode(snapshot))
