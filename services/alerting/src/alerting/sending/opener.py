"""Opens the deliveries of alerts that somebody asked for (notices, tests) beside those that the intakes come upon."""

from __future__ import annotations

import time
from collections.abc import Callable

from alerting.directory import Directory
from alerting.matching.causes import Match
from alerting.metrics import Metrics
from alerting.pipeline import Outbox
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import AlertRaised


class Opener:
    """What it takes; a delivery may take `ttl_s`."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        metrics: Metrics,
        *,
        ttl_s: float,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.directory = directory
        self.ttl_ms = int(ttl_s * 1000)
        self.clock_ms = clock_ms
        self._bus = bus
        self._metrics = metrics

    async def open(self, match: Match, outbox: Outbox) -> None:
        """Publish what follows from one match: the alert stands and the ledgers are open before the work is due.

        An alert that was stored before is not counted again. Raises Unreachable.
        """
        receipts = await self._bus.publish(outbox.alerts)
        await self._bus.publish(outbox.opened)
        await self._bus.publish([*outbox.due, *outbox.aside])
        stated = zip(outbox.alerts, receipts, strict=True)
        if any(isinstance(alert, AlertRaised) and not receipt.duplicate for alert, receipt in stated):
            self._metrics.matched.labels(match.kind).inc()
            for opened in outbox.opened:
                self._metrics.queued.labels(opened.channel).inc()
