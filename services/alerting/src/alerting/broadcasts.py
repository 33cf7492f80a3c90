"""What operators have to say to all subscribers: it goes the way of every alert, so quiet hours, mutings, silences and
preferences hold, and every delivery is counted and can be asked about."""

from __future__ import annotations

import time
from collections.abc import Callable

from alerting.audience import Doorkeeper
from alerting.causes import Match, Notice
from alerting.directory import Directory
from alerting.limits import Rung
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import SignalRule
from tocsin_common.events import AlertRaised

TEXT_MAX = 1000
"""Characters: what every channel shows in full."""


class Broadcasts:
    """Opens the deliveries of notices. Named and sent again under the same id, a notice goes out once."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        metrics: Metrics,
        *,
        ttl_s: float,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus, self._directory, self._metrics, self._now_ms = bus, directory, metrics, clock_ms
        self._ttl_ms = int(ttl_s * 1000)

    def audience(self) -> list[str]:
        """Everybody who is switched on."""
        return sorted(name for name, one in self._directory.subscribers.items() if one.enabled)

    async def send(self, notice_id: str, text: str) -> int:
        """Open the deliveries, the alert before them; returns how many subscribers are told. Raises Unreachable."""
        now_ms = self._now_ms()
        rule = SignalRule(rule_id=notice_id, name="", subscribers=self.audience())
        match = Match.of(rule, 0, Notice(notice_id, now_ms, text[:TEXT_MAX]), now_ms)
        door = Doorkeeper(self._directory.subscribers, self._directory.silences)
        outbox = Pipeline(door, self._ttl_ms).run([match], Rung(), {}, now_ms=now_ms)
        stored = await self._bus.publish(outbox.alerts)
        await self._bus.publish(outbox.opened)
        await self._bus.publish([*outbox.due, *outbox.aside])
        raised = [one for one in outbox.alerts if isinstance(one, AlertRaised)]
        if raised and not stored[-1].duplicate:
            self._metrics.matched.labels(match.kind).inc()
            for opened in outbox.opened:
                self._metrics.queued.labels(opened.channel).inc()
        return sum(len(one.subscribers) for one in raised)
