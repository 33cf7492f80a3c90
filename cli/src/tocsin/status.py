"""What the live view shows, gathered once a second: health, positions, rates, lag and the latest decisions."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
import psutil

from tocsin.servers import Embedded
from tocsin.supervisor import Child, Supervisor
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Malformed, TocsinError
from tocsin_common.events import (
    TERMINAL_STATES,
    AlertRaised,
    AnyEvent,
    ClockAdvanced,
    DeliveryChanged,
    EquityMarked,
    OrderFilled,
    OutcomeMeasured,
    SignalRaised,
)
from tocsin_common.streams import (
    ALERTS,
    CANDLES,
    CLOCK,
    DEAD,
    DELIVERIES,
    DURABLES,
    OUTCOMES,
    PAPER,
    SIGNALS,
    TRADES,
    Stream,
)

HEALTH_TIMEOUT_S = 2.0
TAIL_LOOK_BACK, TAIL_MAX_BEHIND = 200, 5_000
"""How much of a stream is read at the start, and how far a view may fall behind before it skips to the end."""

LATEST = 50
"""Decisions of each kind that are kept to be shown: more than a tall terminal has lines."""
RATE_WINDOW = 10
"""Rates are taken over this many readings, about ten seconds."""

FLOW = (TRADES, CANDLES, SIGNALS, OUTCOMES, ALERTS, DELIVERIES, PAPER, DEAD)


@dataclass
class PartStatus:
    """One process: a service, or an embedded server. `note` says what is wrong, or nothing."""

    name: str
    state: str
    pid: int | None = None
    restarts: int = 0
    memory_bytes: int = 0
    cpu_percent: float = 0.0
    note: str = ""

    @property
    def well(self) -> bool:
        return self.state == "ready"


@dataclass
class Status:
    """Everything the view shows. `messages` and `rates` (per second) are by stream, `lags` by durable.

    `deliveries` that ended and `results` of signals are counted since the start of this process.
    """

    started: float = field(default_factory=time.monotonic)
    parts: list[PartStatus] = field(default_factory=list)
    mark: ClockAdvanced | None = None
    messages: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    trades_per_s: float = 0.0
    market_speed: float = 0.0
    lags: dict[str, int] = field(default_factory=dict)
    signals: deque[SignalRaised] = field(default_factory=lambda: deque(maxlen=LATEST))
    alerts: deque[AlertRaised] = field(default_factory=lambda: deque(maxlen=LATEST))
    fills: deque[OrderFilled] = field(default_factory=lambda: deque(maxlen=LATEST))
    equity: dict[str, EquityMarked] = field(default_factory=dict)
    deliveries: dict[str, int] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def ready(self) -> bool:
        return bool(self.parts) and all(part.well for part in self.parts)


@dataclass
class Tail:
    """Follows the end of one stream; reads a little of the past first, and skips rather than falls behind."""

    bus: Bus
    stream: Stream
    position: int = -1

    async def news(self) -> list[AnyEvent]:
        """The events since the last call."""
        last = (await self.bus.stream_state(self.stream)).last_seq
        if self.position < 0 or last - self.position > TAIL_MAX_BEHIND:
            self.position = max(0, last - TAIL_LOOK_BACK)
        if last <= self.position:
            return []
        reader = self.bus.reader(self.stream, after=self.position)
        try:
            messages = await reader.through(last)
        finally:
            await reader.close()
        self.position = last
        events = []
        for message in messages:
            with suppress(Malformed):
                events.append(message.event())
        return events


class Watcher:
    """Refreshes a `Status` from the bus, the processes and their health servers."""

    def __init__(self, bus: Bus, supervisor: Supervisor, embedded: dict[str, Embedded]) -> None:
        self.status = Status()
        self._bus, self._supervisor, self._embedded = bus, supervisor, embedded
        self._tails = [Tail(bus, stream) for stream in (SIGNALS, OUTCOMES, ALERTS, DELIVERIES, PAPER)]
        self._processes: dict[int, psutil.Process] = {}
        self._counting = False  # the first look takes in some of the past
        self._readings: deque[tuple[float, dict[str, int], int, int]] = deque(maxlen=RATE_WINDOW)

    async def refresh(self, session: aiohttp.ClientSession) -> Status:
        """Take a new reading. What cannot be read is told in `problem`; the rest is still refreshed."""
        self.status.parts = [
            *(self._server(name, server) for name, server in self._embedded.items()),
            *await asyncio.gather(*(self._service(child, session) for child in self._supervisor.children)),
        ]
        try:
            await self._read_streams()
            self.status.problem = ""
        except (TocsinError, TimeoutError, OSError) as error:
            self.status.problem = str(error)
        return self.status

    def _server(self, name: str, server: Embedded) -> PartStatus:
        if not server.running:
            return PartStatus(name, "restarting", note="ended, and is started again; see its log in the data directory")
        part = PartStatus(name, "ready", server.pid)
        self._measure(part)
        return part

    async def _service(self, child: Child, session: aiohttp.ClientSession) -> PartStatus:
        part = PartStatus(child.name, child.state, child.pid, child.restarts)
        if child.state in ("restarting", "failed"):
            part.note = f"{child.last_exit}; {child.last_words()}"
        elif child.state == "running":
            part.state, part.note = await self._ready(child, session)
            self._measure(part)
        return part

    async def _ready(self, child: Child, session: aiohttp.ClientSession) -> tuple[str, str]:
        try:
            async with session.get(f"{child.launch.health_url}/readyz") as response:
                problems = (await response.json()).get("problems", {})
                return ("ready", "") if response.status == 200 else ("not ready", "; ".join(problems.values()))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            young = time.monotonic() - child.since_s < STARTING_S
            return ("starting", "") if young else ("no answer", f"{child.launch.health_url}/readyz does not answer")

    def _measure(self, part: PartStatus) -> None:
        if part.pid is None:
            return
        with suppress(psutil.Error):
            process = self._processes.setdefault(part.pid, psutil.Process(part.pid))
            members = [process, *process.children(recursive=True)] if part.name == "postgres" else [process]
            part.cpu_percent = process.cpu_percent()
            part.memory_bytes = sum(member.memory_info().rss for member in members)

    async def _read_streams(self) -> None:
        status = self.status
        for tail in self._tails:
            for event in await tail.news():
                self._file(event)
        self._counting = True
        for stream in FLOW:
            status.messages[stream.name] = (await self._bus.stream_state(stream)).last_seq
        for durable in DURABLES:
            state = await self._bus.durable_state(durable)
            status.lags[durable.name] = state.pending + state.ack_pending
        newest = await self._bus.last(CLOCK, "clock.market")
        mark = newest.event() if newest else None
        status.mark = mark if isinstance(mark, ClockAdvanced) else None
        self._take_rates()

    def _file(self, event: AnyEvent) -> None:
        status = self.status
        match event:
            case SignalRaised():
                status.signals.appendleft(event)
            case AlertRaised():
                status.alerts.appendleft(event)
            case OrderFilled():
                status.fills.appendleft(event)
            case EquityMarked():
                status.equity[event.portfolio] = event
            case DeliveryChanged() if self._counting and event.state in TERMINAL_STATES:
                status.deliveries[event.state] = status.deliveries.get(event.state, 0) + 1
            case OutcomeMeasured() if self._counting:
                status.results[event.result] = status.results.get(event.result, 0) + 1
            case _:
                return

    def _take_rates(self) -> None:
        status = self.status
        trades = status.mark.totals.get("trades_published", 0) if status.mark else 0
        market_ms = status.mark.time_ms if status.mark else 0
        self._readings.append((time.monotonic(), dict(status.messages), trades, market_ms))
        before, messages, trades_before, market_before = self._readings[0]
        elapsed = self._readings[-1][0] - before
        if elapsed > 0:
            status.rates = {name: (count - messages[name]) / elapsed for name, count in status.messages.items()}
            status.trades_per_s = max(0.0, (trades - trades_before) / elapsed)
            status.market_speed = (market_ms - market_before) / 1000 / elapsed if market_before else 0.0


def lag_of(status: Status, durables: Sequence[str]) -> int:
    """The largest lag among some durables."""
    return max((status.lags.get(name, 0) for name in durables), default=0)


STARTING_S = 20.0
"""A service that imports and warms up may leave its health port unanswered this long."""
