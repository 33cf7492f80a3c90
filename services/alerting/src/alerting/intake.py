"""From a stream to the pipeline: in order, from where a predecessor stopped, and never the same alert twice.

An intake consumes one stream. What it has seen lately (prices, volumes, what rang and has to be armed again) is in a
snapshot in a bucket, with the sequence it belongs to: a restart goes back to that sequence, learns again up to what was
already acknowledged, and from there on alerts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from alerting.judging.audience import Decided
from alerting.judging.limits import Rung
from alerting.judging.recall import recall
from alerting.matching.causes import Cause, Match
from alerting.matching.prices import always
from alerting.matching.rules import Rules
from alerting.matching.system import Trouble, of_a_letter
from alerting.matching.watch import Counts, Watch
from alerting.metrics import Metrics
from alerting.pipeline import Outbox, Pipeline
from alerting.redo import Redo
from alerting.sending.threads import threaded
from alerting.snapshots import Snapshot, Snapshots
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import AlertRule
from tocsin_common.errors import Rejected
from tocsin_common.events import (
    AlertRaised,
    CandlesClosed,
    DeadLetter,
    DeliveryChanged,
    EquityMarked,
    Event,
    FeedChanged,
    IndicatorsComputed,
    IndicatorsOffered,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    RoundsChanged,
    SendDue,
    SignalRaised,
    SignalSkipped,
    StrategyQuarantined,
    TradesReceived,
)
from tocsin_common.streams import ALERTS, Durable

SNAPSHOT_EVERY_S = 5.0

Found = Iterable[tuple[AlertRule, Cause]]

HandOver = Callable[[SendDue, DeliveryChanged, int], None]
"""Takes work by the hand whose ledger was opened just now: the work, the entry, and the entry's sequence."""


class Intake:
    """Consumes one durable. Give `handle` to the in-order loop, starting after what `start` returned."""

    def __init__(
        self,
        bus: Bus,
        durable: Durable,
        rules: Rules,
        pipeline: Pipeline,
        metrics: Metrics,
        hand_over: HandOver,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.durable = durable
        self._hand_over = hand_over
        self._now_ms = clock_ms
        self._bus = bus
        self._rules = rules
        self._pipeline = pipeline
        self._metrics = metrics
        self._watch = Watch(rules)
        self._rung = Rung()
        self._snapshots = Snapshots(bus, durable.name)
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
        snapshot = await self._snapshots.load()
        same_alerts = snapshot is not None and snapshot.alerts_stream == alerts.identity
        alerts_seq = snapshot.alerts_seq if snapshot and same_alerts else 0
        self._redo = Redo(self._bus, through=stream.last_seq, alerts_seq=alerts_seq)
        if snapshot is None or snapshot.stream != stream.identity:
            return None
        self._watch.restore(snapshot.memory)
        self._handled_through = snapshot.seq
        return snapshot.seq

    async def handle(self, batch: Sequence[Incoming]) -> Sequence[Event]:
        """Publish what follows from a batch; what is due or put aside is left to the caller. A batch may come again.

        Alerts and the ledger's first entries are stored side by side: nobody acts on either before both are. Work is
        handed over at once then; through its queue it comes all the same, for whom a crash leaves it to.
        """
        outbox = await self.decide(batch)
        announcing = asyncio.ensure_future(self._bus.publish(outbox.alerts))
        opening = asyncio.ensure_future(self._bus.publish(outbox.opened))
        await asyncio.wait((announcing, opening))  # both have ended before a failure of one is told
        announcing.result()
        opened = zip(outbox.opened, opening.result(), strict=True)
        fresh = {change.delivery_id: (change, stored.seq) for change, stored in opened if not stored.duplicate}
        for due in outbox.due:
            if due.delivery_id in fresh:
                self._hand_over(due, *fresh[due.delivery_id])
        return [*outbox.due, *outbox.aside]

    async def decide(self, batch: Sequence[Incoming]) -> Outbox:
        """Turn a batch into alerts, ledger entries and due work."""
        first, last = batch[0].message.seq, batch[-1].message.seq
        await self._settle(first)
        self._handled_through = last
        again = first <= self._redo.through
        before = await self._redo.decided() if again else {}
        matches = list(self._matches(batch, before))
        if again:
            await self._redo.look_up(matches, self._pipeline.door.subscribers)
        await recall(self._bus, self._rung, matches)
        outbox = self._pipeline.run(matches, self._rung, before, now_ms=self._now_ms())
        outbox.due = threaded(outbox.due, matches, self._rules, self._pipeline.door.subscribers)
        self._redo.through = max(self._redo.through, last)
        self._count(outbox)
        return outbox

    async def _settle(self, first: int) -> None:
        """A batch that goes on where the last one ended proves that one published; otherwise that one comes again."""
        if first <= self._handled_through:
            self._watch.revert()
            self._rung.revert()
            return
        self._watch.settle()
        self._rung.settle()
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._snapshot_due_s:
            await self._save(after_redo=first > self._redo.through)
            self._snapshot_due_s = now_s + SNAPSHOT_EVERY_S

    def _matches(self, batch: Sequence[Incoming], before: Mapping[str, Decided]) -> Iterator[Match]:
        """Every match in the batch. Acknowledged input only teaches, it has had its alerts: what was stated of it rang,
        and nothing else did, whatever rules there are now."""

        def stated(rule: AlertRule, cause: Cause) -> bool:
            match = self._match(rule, cause, 0)
            return match.alert_id in before and before[match.alert_id].revision == match.revision

        for item in batch:
            silent = item.message.seq <= self._silent_through
            for rule, cause in self._find(item, stated if silent else always):
                if not silent:
                    yield self._match(rule, cause, item.message.stored_ms)

    def _match(self, rule: AlertRule, cause: Cause, stored_ms: int) -> Match:
        return Match.of(rule, self._rules.revision(rule), cause, stored_ms)

    def _find(self, item: Incoming, counts: Counts) -> Found:
        event = item.event
        match event:
            case SignalRaised():
                return ((rule, event) for rule in self._rules.for_signal(event))
            case OutcomeMeasured():
                return ((rule, event) for rule in self._rules.for_outcome(event))
            case FeedChanged():
                return ((rule, event) for rule in self._rules.for_feed(event))
            case TradesReceived() | CandlesClosed() | IndicatorsComputed():
                return self._watch.find(event, counts)
            case PortfolioOpened() | OrderFilled() | SignalSkipped() | EquityMarked():
                return self._watch.find(event, counts)
            case StrategyQuarantined() | RoundsChanged() | DeadLetter():
                return self._troubles(event, item.message.stored_ms)
            case IndicatorsOffered():
                return ()
        raise Rejected("unexpected_type", f"{type(event).__name__} has no business on {self.durable.stream.name}")

    def _troubles(self, event: StrategyQuarantined | RoundsChanged | DeadLetter, stored_ms: int) -> Found:
        if isinstance(event, DeadLetter) and of_a_letter(event):
            return ()
        trouble = Trouble.of(event, stored_ms)
        rules = self._rules.for_system(trouble.what, trouble.service, trouble.reason)
        return ((rule, trouble) for rule in rules)

    def _count(self, outbox: Outbox) -> None:
        for alert in outbox.alerts:
            if isinstance(alert, AlertRaised):
                self._metrics.matched.labels(alert.kind).inc()
            else:
                self._metrics.suppressed.labels(alert.reason).inc()
        opened = Counter((entry.channel, entry.state == "aside", entry.reason) for entry in outbox.opened)
        for (channel, aside, reason), count in opened.items():
            if aside:
                self._metrics.aside.labels(channel, reason).inc(count)
            else:
                self._metrics.queued.labels(channel).inc(count)

    async def _save(self, *, after_redo: bool) -> None:
        if after_redo:
            await self._redo.advance((await self._bus.stream_state(ALERTS)).last_seq)
        stream, alerts = self._identities
        snapshot = Snapshot(
            stream=stream,
            seq=self._handled_through,
            alerts_stream=alerts,
            alerts_seq=self._redo.alerts_seq,
            memory=self._watch.memory(),
        )
        await self._snapshots.save(snapshot)
