"""Has every report made when it is due, by one replica at a time.

When Tocsin was away at the time, the newest report is made as soon as it is back, unless the next one is nearer. While
the gateway is away the report waits for it, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from zoneinfo import ZoneInfo

import msgspec
import structlog

from alerting.config import ReportsSection, Settings
from alerting.directory import Directory
from alerting.gateway import Away, Gateway
from alerting.pipeline import Pipeline
from alerting.reports.desk import Desk
from alerting.reports.figures import TIMEOUT_S
from alerting.reports.metrics import ReportMetrics
from alerting.reports.schedule import Due, Schedule
from tocsin_common.bus.consume import pause
from tocsin_common.bus.holding import holder_name, while_held
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.protocol import Bus
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed, Unreachable
from tocsin_common.events import Period
from tocsin_common.runtime import Service
from tocsin_common.streams import LEASES, SNAPSHOTS

log = structlog.get_logger()

KEY = "alerting-reports"

LOOK_S = 60.0
"""The clock is looked at so often at least: it may be set."""

RETRY_FIRST_S, RETRY_MAX_S = 5.0, 300.0


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """When the last report of each period was due that is settled. Losing it costs a look at what is stored."""

    due_ms: dict[Period, int] = {}


class Office:
    """Run it in every replica; it waits where another one holds the lease."""

    def __init__(
        self,
        bus: Bus,
        desk: Desk,
        schedules: Sequence[Schedule],
        lease: Lease,
        metrics: ReportMetrics,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        retry_s: float = RETRY_FIRST_S,
    ) -> None:
        self._desk = desk
        self._schedules = schedules
        self._lease = lease
        self._metrics = metrics
        self._now_ms = clock_ms
        self._retry_s = retry_s
        self._snapshots = bus.bucket(SNAPSHOTS)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        await while_held(self._lease, self._work, stop)

    async def _work(self, stop: asyncio.Event) -> None:
        """Look whether something is due, again and again."""
        retry_s = self._retry_s
        while not stop.is_set():
            try:
                await self.make_due()
            except (Away, Unreachable) as error:
                reason = error.reason if isinstance(error, Away) else "unreachable"
                self._metrics.delayed.labels(reason).inc()
                log.warning("a report is delayed", error=str(error), retry_s=retry_s)
                await pause(stop, retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)
            else:
                retry_s = self._retry_s
                await pause(stop, self._until_next_s())

    async def make_due(self) -> None:
        """Make what is due and not made. Raises Away, Unreachable; what was made before that stays made."""
        made = await self._load()
        for schedule in self._schedules:
            due = schedule.last(self._now_ms())
            if made.due_ms.get(due.period, 0) < due.due_ms:
                await self._settle(due)
                made = Made(due_ms=made.due_ms | {due.period: due.due_ms})
                await self._snapshots.put(KEY, msgspec.json.encode(made))

    async def _settle(self, due: Due) -> None:
        """Make it, unless it is not worth making any more."""
        if not await self._desk.is_about_us(due):
            return
        if self._now_ms() >= due.pointless_ms:
            log.warning("a report is left out, the next one is nearer", period=due.period, due_ms=due.due_ms)
            self._metrics.left_out.labels(due.period).inc()
        elif await self._desk.make(due):
            self._metrics.made.labels(due.period).inc()

    async def _load(self) -> Made:
        entry = await self._snapshots.get(KEY)
        with suppress(Malformed):
            return decode(entry.value if entry and entry.value else b"{}", Made)
        return Made()

    def _until_next_s(self) -> float:
        now_ms = self._now_ms()
        waits = [(schedule.next(now_ms).due_ms - now_ms) / 1000 for schedule in self._schedules]
        return min([LOOK_S, *waits])


def schedules_of(section: ReportsSection) -> list[Schedule]:
    """The schedules that the configuration asks for."""
    wanted: dict[Period, bool] = {"daily": section.daily, "weekly": section.weekly}
    zone = ZoneInfo(section.zone)
    return [Schedule(period, zone, section.hour, section.weekday) for period, on in wanted.items() if on]


async def run_reports(service: Service[Settings], directory: Directory, pipeline: Pipeline) -> None:
    """Make reports until the service stops; nothing where none is asked for."""
    settings = service.settings.alerting
    schedules = schedules_of(settings.reports)
    if not schedules:
        return
    gateway = Gateway.of(settings.api, timeout_s=TIMEOUT_S)
    service.stack.push_async_callback(gateway.close)
    desk = Desk(
        service.bus,
        gateway,
        directory,
        pipeline,
        operators=settings.reports.operators,
        min_count=settings.reports.min_count,
    )
    lease = Lease(service.bus.bucket(LEASES), KEY, holder_name())
    await Office(service.bus, desk, schedules, lease, ReportMetrics(service.registry)).run(service.stop)
