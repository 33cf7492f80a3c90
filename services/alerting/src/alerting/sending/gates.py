"""The gates of all channels: whatever asks a receiver, a delivery or an answer somebody waits for, passes its gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from alerting.channels import HostBusy, Sent
from alerting.config import AlertingSection
from alerting.metrics import Metrics
from alerting.sending.clock import ClockMs
from alerting.sending.closures import Closures
from alerting.sending.gate import Gate, Permit
from alerting.sending.rates import Rates, Route
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import CHANNELS, ChannelName
from tocsin_common.streams import CLOSURES, PERMITS

log = structlog.get_logger()

T = TypeVar("T")

ANSWER = 0
"""The rank of what somebody waits for: as urgent as a critical alert."""


class Gates:
    """One of each channel, made once in a process, with the limits of its receivers."""

    def __init__(
        self,
        bus: Bus,
        settings: AlertingSection,
        metrics: Metrics,
        *,
        clock_ms: ClockMs = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        permits = bus.bucket(PERMITS)
        self._rates = Rates(settings)
        self._closures = Closures(bus.bucket(CLOSURES), metrics, clock_ms)
        self._gates = {
            name: Gate(permits, self._closures, workers=settings.workers(name), clock_ms=clock_ms) for name in CHANNELS
        }

    def __getitem__(self, channel: ChannelName) -> Gate:
        return self._gates[channel]

    def route(self, channel: ChannelName, address: str) -> Route:
        """Where an address of a channel leads, and under which limits."""
        return self._rates.route(channel, address)

    async def permit(self, channel: ChannelName, address: str) -> Permit:
        """A permit for what somebody waits for. Where the line is full it waits all the same: there are few of these.

        Raises Retryable where the address's next one is far off, and Unreachable.
        """
        return await self[channel].permit(self.route(channel, address), ANSWER, stays=True)

    async def ask(
        self, channel: ChannelName, address: str, request: Callable[[], Awaitable[T]], permit: Permit | None = None
    ) -> T:
        """Make a request that somebody waits for, with a `permit` that was taken before, or one of its own.

        Raises what the request raises, and what `permit` raises.
        """
        permit = permit or await self.permit(channel, address)
        gate, route = self[channel], permit.route
        async with gate.connection(ANSWER):
            await gate.ready(permit)
            try:
                found = await request()
            except Retryable as error:
                await self.heed(route, error)
                raise
        if isinstance(found, Sent):
            await self.heed(route, found)
        return found

    async def heed(self, route: Route, outcome: Sent | Rejected | Retryable) -> None:
        """Keep to what a receiver said about when it may be asked again, in all replicas."""
        match outcome:
            case Sent(rest_s=seconds) if seconds > 0:
                await self._closures.close(route.own.key, seconds)
            case HostBusy(retry_after_s=float() | int() as seconds):
                log.warning("a host asks for patience", host=route.host, seconds=seconds)
                await self._closures.close(route.shared.key, seconds)
            case Retryable(retry_after_s=float() | int() as seconds):
                await self._closures.close(route.own.key, seconds)

    async def follow(self, stop: asyncio.Event) -> None:
        """Learn what receivers told other replicas, until `stop` is set."""
        await self._closures.follow(stop)
