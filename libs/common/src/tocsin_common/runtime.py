"""The life of a service: settings, logs, health server, bus; run until SIGTERM; close everything in reverse.

A service's `__main__.py` is a call of `main` with its settings type and a coroutine that wires core and edges:

    def run() -> None:
        main("signal-engine", Settings, serve)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
import uvloop
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from tocsin_common import health, logs
from tocsin_common.bus.consume import BatchHandler, Loop, MessageHandler, consume_in_order, consume_queue
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.config import CommonSettings, load
from tocsin_common.errors import ConfigError, TocsinError, Unreachable
from tocsin_common.garbage import collect_rarely
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import Durable

log = structlog.get_logger()

DRAIN_S = 8.0
"""How long a stopping service may finish what is in hand: fetch wait plus handler time, below the supervisor's 10 s
and well below Kubernetes' 30 s."""

EXIT_CONFIG, EXIT_FAILED = 2, 1

S = TypeVar("S", bound=CommonSettings)


@dataclass
class Service(Generic[S]):
    """What a running service holds. `stack` closes in reverse what is entered on it."""

    name: str
    settings: S
    bus: Bus
    registry: CollectorRegistry
    health: health.Health
    stop: asyncio.Event
    stack: AsyncExitStack
    tasks: asyncio.TaskGroup
    bus_metrics: BusMetrics

    async def consume_in_order(
        self, durable: Durable, handle: BatchHandler, *, batch: int = 500, after: int | None = None
    ) -> None:
        """Run an in-order loop on a durable until the service stops.

        Starts just after sequence `after` (where the service's own snapshot stands), or at the acknowledgement floor.
        """
        loop = self._loop(durable)
        if after is not None:
            await loop.consumer.reset(after)
        await consume_in_order(loop, handle, batch=batch)

    async def consume_queue(self, durable: Durable, handle: MessageHandler, *, workers: int = 16) -> None:
        """Run a pool of workers on a work queue until the service stops."""
        await consume_queue(self._loop(durable), handle, workers=workers)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the main work; if it fails, the service fails."""
        self.tasks.create_task(work)

    def _loop(self, durable: Durable) -> Loop:
        consumer = self.bus.consumer(durable)
        return Loop(self.bus, consumer, self.name, self.stop, self.bus_metrics.loop(durable.name))


Serve = Callable[[Service[S]], Awaitable[None]]
"""Wires a service and returns when it has nothing left to start; loops run in `service.tasks` until `stop`."""


def main(name: str, kind: type[S], serve: Serve[S]) -> None:
    """Run a service as this process. Exit code 0 after a stop, 2 for wrong configuration or input, 1 for a failure."""
    try:
        settings = load(kind)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    logs.configure(name, level=settings.log.level, json=settings.log.json_lines)
    exit_code = 0
    try:
        uvloop.run(run(name, settings, serve))
    except BaseException as error:
        exit_code = _exit_code(error)
        _report(error)
    sys.stderr.flush()
    os._exit(exit_code)  # worker threads of libraries must not delay a finished stop


async def run(name: str, settings: S, serve: Serve[S]) -> None:
    """Acquire in order, serve until SIGTERM or SIGINT, release in reverse."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await _run(name, settings, serve, stop)
    except Unreachable:
        if not stop.is_set():
            raise
    log.info("stopped")


async def _run(name: str, settings: S, serve: Serve[S], stop: asyncio.Event) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("tocsin_started_seconds", "Unix time of the start.", registry=registry).set(time.time())
    async with AsyncExitStack() as stack:
        checks = health.Health(registry, {"nats": _connecting})
        runner, port = await health.serve(checks, settings.health.host, settings.health.port)
        stack.push_async_callback(runner.cleanup)
        bus = await JetStreamBus.connect(settings.nats, name=name, stop=stop)
        stack.push_async_callback(bus.close)
        checks.checks["nats"] = bus.problem
        log.info("started", health_port=port, nats=bus.connection.url)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_enforce_drain(stop))
            tasks.create_task(collect_rarely(stop))
            service = Service(name, settings, bus, registry, checks, stop, stack, tasks, BusMetrics(registry))
            await serve(service)


async def _connecting() -> str:
    return "not connected to NATS yet"


async def _enforce_drain(stop: asyncio.Event) -> None:
    """After `stop`, leave the loops DRAIN_S to finish; then give up loudly: everything unsettled comes again."""
    await stop.wait()
    asyncio.get_running_loop().call_later(DRAIN_S, _give_up)


def _give_up() -> None:
    log.error("not drained in time, leaving; unsettled messages will come again", drain_s=DRAIN_S)
    sys.stderr.flush()
    os._exit(EXIT_FAILED)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, BaseExceptionGroup):
        return max(_exit_code(inner) for inner in error.exceptions)
    return error.exit_code if isinstance(error, TocsinError) else EXIT_FAILED


def _report(error: BaseException) -> None:
    """One line for an error of ours, a traceback for a bug."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _report(inner)
    elif isinstance(error, TocsinError):
        log.error("service failed", error=str(error), kind=type(error).__name__)
    else:
        log.error("service crashed", exc_info=error)
