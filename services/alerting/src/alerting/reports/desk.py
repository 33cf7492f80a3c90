"""Makes one report: asks for its figures, states it, and has it delivered like any other alert.

A report is stated once, and what was stated stands: whoever takes over after a crash delivers that, and asks nobody.
Its ids follow from its period, so whoever makes it, it is the same report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from alerting.directory import Directory
from alerting.gateway import Away, Gateway
from alerting.judging.limits import Rung
from alerting.matching.causes import Match
from alerting.pipeline import Pipeline
from alerting.redo import Redo
from alerting.reports.condense import condensed
from alerting.reports.figures import figures
from alerting.reports.reported import PLACE, Reported
from alerting.reports.schedule import Due
from tocsin_common import subjects
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Rule
from tocsin_common.events import AlertRaised, Period, Summary
from tocsin_common.streams import ALERTS, SIGNALS

log = structlog.get_logger()

SKEW_MS = 60_000
"""The server's clock may be behind ours by so much."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A report as it stands on ALERTS."""

    alert: AlertRaised
    report: Summary
    seq: int
    stored_ms: int

    def match(self, rule: Rule) -> Match:
        return Match.of(rule, 0, Reported(self.report, self.alert.ts_ms), self.stored_ms)


class Desk:
    """`operators` are told of every report, other subscribers of those they ask for."""

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway,
        directory: Directory,
        pipeline: Pipeline,
        *,
        operators: frozenset[str],
        min_count: int,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus = bus
        self._gateway = gateway
        self._directory = directory
        self._pipeline = pipeline
        self._operators = operators
        self._min_count = min_count
        self._now_ms = clock_ms

    async def is_about_us(self, due: Due) -> bool:
        """Whether there was a signal before it was due: of the time before there is nothing to tell."""
        first = await self._bus.page(SIGNALS, SIGNALS.events, since_ms=1, limit=1)
        return bool(first) and first[0].stored_ms < due.due_ms

    async def make(self, due: Due) -> bool:
        """State it and have it delivered, as far as that was not done; False: there is nothing to do.

        Raises Away and Unreachable.
        """
        rule = self._rule(due.period)
        last = await self._last(rule, due.period)
        if last is not None and last.alert.ts_ms > due.due_ms:
            return False  # the clock was set back
        if last is not None and last.alert.ts_ms == due.due_ms:
            await self._deliver(last.match(rule), due, after_seq=last.seq - 1)
        elif not rule.subscribers:
            return False
        else:
            await self._deliver(await self._fresh(rule, due), due, after_seq=await self._alerts_before(due))
        return True

    async def _fresh(self, rule: Rule, due: Due) -> Match:
        """The report as its figures are now. Raises Away."""
        report = await figures(self._gateway, due, min_count=self._min_count)
        now_ms = self._now_ms()
        summary = condensed(report, due, delayed_s=(now_ms - due.due_ms) // 1000)
        return Match.of(rule, 0, Reported(summary, due.due_ms), now_ms)

    async def _deliver(self, match: Match, due: Due, *, after_seq: int) -> None:
        """Publish what follows from it and is not stored yet; what was stated of it before stands after `after_seq`."""
        redo = Redo(self._bus, through=0, alerts_seq=after_seq)
        try:
            before = await redo.decided()
            await redo.look_up([match], self._directory.subscribers)
            outbox = self._pipeline.run([match], Rung(), before, now_ms=self._now_ms())
        finally:
            await redo.advance(after_seq)
        receipts = await self._bus.publish(outbox.alerts)
        announced = zip(outbox.alerts, receipts, strict=True)
        if any(receipt.duplicate for alert, receipt in announced if isinstance(alert, AlertRaised)):
            raise Away("raced")  # another replica states it just now, perhaps in other words: those stand
        await self._bus.publish([*outbox.opened, *outbox.due, *outbox.aside])
        log.info("report made", period=due.period, to_ms=due.to_ms, deliveries=len(outbox.opened))

    async def _last(self, rule: Rule, period: Period) -> Stated | None:
        """The newest report that was stated."""
        message = await self._bus.last(ALERTS, subjects.alert_raised(rule.rule_id, PLACE, period))
        alert = message.event() if message else None
        if message is None or not isinstance(alert, AlertRaised) or alert.report is None:
            return None
        return Stated(alert, alert.report, message.seq, message.stored_ms)

    async def _alerts_before(self, due: Due) -> int:
        """A sequence of ALERTS before anything that a crash left of a report that is not stated."""
        page = await self._bus.page(ALERTS, "alerts.>", since_ms=due.due_ms - SKEW_MS, limit=1)
        return page[0].seq - 1 if page else (await self._bus.stream_state(ALERTS)).last_seq

    def _rule(self, period: Period) -> Rule:
        """What stands for a rule: who asks for this report."""
        wanting = [
            name
            for name, subscriber in sorted(self._directory.subscribers.items())
            if period in subscriber.reports or name in self._operators
        ]
        return Rule(rule_id=rule_id(period), name=rule_id(period), subscribers=wanting)


def rule_id(period: Period) -> str:
    """Under which name reports are among the alerts."""
    return f"report:{period}"
