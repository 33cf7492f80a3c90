"""Reports as the gateway answers them, and a world in which they are made: a bus, an HTTP API, subscribers, a clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from prometheus_client import CollectorRegistry
from tests.alerts import a_signal
from tests.bot import ApiServer

from alerting.directory import Directory
from alerting.gateway import Gateway
from alerting.judging.audience import Doorkeeper
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from alerting.reports.desk import Desk
from alerting.reports.metrics import ReportMetrics
from alerting.reports.office import Office
from alerting.reports.schedule import Due, Schedule
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.report import AlertFigures, Change, Figures, Group, Point, PortfolioFigures, Ranking, Report
from tocsin_common.streams import LEASES, SUBSCRIBERS

ZONE = ZoneInfo("Asia/Jakarta")
WEEKLY = Schedule("weekly", ZONE, 9)
MONDAY_MS = WEEKLY.next(time.time_ns() // 1_000_000).due_ms
"""When the next weekly report is due: what the bus stores now, by the real clock, is stored before that."""

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def figures_of(outcomes: int = 20, wins: int = 12, average_r: float | None = 0.25) -> Figures:
    return Figures(
        signals=outcomes + 2,
        outcomes=outcomes,
        wins=wins,
        losses=outcomes - wins,
        win_rate=wins / outcomes if outcomes else None,
        win_rate_low=0.387 if outcomes else None,
        win_rate_high=0.781 if outcomes else None,
        average_r=average_r if outcomes else None,
        profit_factor=1.62 if outcomes else None,
        total_r=outcomes * (average_r or 0.0),
    )


def ranking_of(
    *best: tuple[str, float], worst: tuple[tuple[str, float], ...] = (), few: tuple[str, ...] = ()
) -> Ranking:
    def groups(named: tuple[tuple[str, float], ...]) -> list[Group]:
        return [
            Group(name=name, enough=True, now=figures_of(average_r=r), before=figures_of(0, 0)) for name, r in named
        ]

    scarce = [Group(name=name, enough=False, now=figures_of(2, 1), before=figures_of(0, 0)) for name in few]
    return Ranking(groups=len(best) + len(worst) + len(few), best=groups(best), worst=groups(worst), few=scarce)


def a_report(due: Due, **given: Any) -> Report:
    """Of an ordinary week, but for what is given."""
    step_ms = (due.to_ms - due.from_ms) // 239
    usual: dict[str, Any] = {
        "from_ms": due.from_ms,
        "to_ms": due.to_ms,
        "before_from_ms": 2 * due.from_ms - due.to_ms,
        "zone": due.zone,
        "min_count": 10,
        "behind": 0,
        "now": figures_of(128, 74, 0.15),
        "before": figures_of(110, 58, 0.03),
        "active": 14,
        "results": {"stop": 54, "target_1": 74},
        "curve": [Point(ts_ms=due.from_ms + n * step_ms, r=n * 0.08 - (n % 7) * 0.4) for n in range(240)],
        "strategies": ranking_of(
            ("ema_cross", 0.61), ("breakout", 0.2), worst=(("mean_reversion", -0.47),), few=("fibonacci_confluence",)
        ),
        "symbols": ranking_of(("SOL/USDT", 0.8), ("BTC/USDT", 0.4), ("ETH/USDT", 0.2), worst=(("XRP/USDT", -0.2),)),
        "hours": ranking_of(("14:00", 0.9), ("20:00", 0.6), worst=(("03:00", -0.7),)),
        "changes": [Change(kind="signals", name="SOL/USDT", before=7.2, now=18.0)],
        "alerts": AlertFigures(raised=312, suppressed={"muted": 41}, deliveries={"sent": 298, "failed": 2}),
        "alerts_before": AlertFigures(raised=0, suppressed={}, deliveries={}),
        "portfolios": [
            PortfolioFigures(
                portfolio="main",
                currency="USDT",
                equity_before="10000",
                equity="10230.124",
                change=0.0230124,
                drawdown=0.012,
                fills=9,
                realised_pnl="230.124",
                fees="3.1",
            )
        ],
    }
    return Report(**(usual | given))


@dataclass
class ReportWorld:
    """`now_ms` is everybody's clock. The API is a gateway, or answers for any period; `given` is what its reports say
    otherwise."""

    bus: Bus
    api: Any
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    now_ms: int = MONDAY_MS
    given: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = ReportMetrics(self.registry)
        self.directory = Directory(self.bus, Metrics(self.registry))
        if isinstance(self.api, ApiServer):
            self.api.answers["/report"] = self._answer

    def _answer(self, params: dict[str, str]) -> Any:
        due = Due("weekly", params["zone"], int(params["from_ms"]), int(params["to_ms"]), self.now_ms)
        return msgspec.to_builtins(a_report(due, **self.given))

    async def subscribe(self, name: str, *channels: Any, **about: Any) -> None:
        """Somebody who asks for the weekly report, unless it is said otherwise."""
        destinations = [Destination(channel=channel, address="1") for channel in channels or ("telegram",)]
        subscriber = Subscriber(
            subscriber_id=name, name=name, destinations=destinations, **({"reports": ["weekly"]} | about)
        )
        await self.bus.bucket(SUBSCRIBERS).put(name, encode(subscriber))
        await self.directory.load()

    async def has_history(self) -> None:
        """A signal was stored; as the clock of the bus is the real one, the report must be due later than that."""
        await self.bus.publish([a_signal()])

    @asynccontextmanager
    async def office(self, bus: Bus | None = None, *, timeout_s: float = 2.0, **more: Any) -> AsyncIterator[Office]:
        """One replica's office, with a lease of its own."""
        own, gateway = bus or self.bus, Gateway(self.api.origin, self.api.key, timeout_s=timeout_s)
        clock = lambda: self.now_ms  # noqa: E731
        pipeline = Pipeline(Doorkeeper(self.directory.subscribers, self.directory.silences), ttl_ms=HOUR_MS)
        desk = Desk(
            own,
            gateway,
            self.directory,
            pipeline,
            operators=more.pop("operators", frozenset()),
            min_count=10,
            clock_ms=clock,
        )
        lease = Lease(own.bucket(LEASES), "alerting-reports", f"{id(desk)}".encode())
        try:
            yield Office(own, desk, [WEEKLY], lease, self.metrics, clock_ms=clock, **more)
        finally:
            await gateway.close()
