"""The whole of alerting in one process, with a bus in memory and receivers that one can take away."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from prometheus_client import CollectorRegistry
from tests.virtual_time import clock_ms

from alerting.channels import Ambiguous, Message, Sent
from alerting.config import AlertingSection
from alerting.digests.keeper import LEASE_KEY, Keeper
from alerting.directory import Directory
from alerting.intake import Intake
from alerting.judging.audience import Doorkeeper
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from alerting.reasons import Undelivered
from alerting.sending.gates import Gates
from alerting.sending.sender import Sender
from tocsin_common.bus import consume
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination
from tocsin_common.errors import Retryable
from tocsin_common.events import AnyEvent, ChannelName, DeliveryChanged, SendDue
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import ALERTING_SEND, ALERTING_SIGNALS, LEASES, Durable, Stream


@dataclass
class Receiver:
    """Everybody on one channel: away from `away[0]` until `away[1]`, both in virtual seconds.

    `faults` are raised one after the other; a request that ends in doubt was taken.
    """

    away: tuple[float, float] = (0.0, 0.0)
    faults: deque[Retryable] = field(default_factory=deque)
    dedupes: bool = True
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    took: dict[str, list[tuple[float, Message]]] = field(default_factory=lambda: defaultdict(list))

    async def send(self, message: Message, destination: Destination) -> Sent:
        now_s = asyncio.get_running_loop().time()
        self.asked.append((now_s, destination.address, message.alert_id))
        await asyncio.sleep(0.05)
        if self.away[0] <= now_s < self.away[1]:
            raise Retryable(Undelivered.CONNECTION_FAILED)
        fault = self.faults.popleft() if self.faults else None
        if fault is None or isinstance(fault, Ambiguous):
            self.took[destination.address].append((now_s, message))
        if fault is not None:
            raise fault
        return Sent("taken")

    async def close(self) -> None: ...


@asynccontextmanager
async def alerting(bus: MemoryBus, receivers: Mapping[ChannelName, Receiver]) -> AsyncIterator[None]:
    """Alerting runs, in virtual time, on what is on SIGNALS, with a sender for each of the receivers' channels. Of
    severities there is only `info`."""
    registry, stop, loop = CollectorRegistry(), asyncio.Event(), asyncio.get_running_loop()
    metrics, loop_metrics = Metrics(registry), BusMetrics(registry)
    directory = Directory(bus, metrics)
    await directory.load()
    gates = Gates(bus, AlertingSection(), metrics, clock_ms=clock_ms)
    senders = {
        name: Sender(
            bus,
            name,
            receiver,
            directory,
            metrics,
            gates,
            ttl_s=3600,
            max_attempts=10,
            random=Random(7),
            clock_ms=clock_ms,
        )
        for name, receiver in receivers.items()
    }

    def hand_over(due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        senders[due.channel].begin(due, opened, seq)

    def looping(durable: Durable) -> consume.Loop:
        return consume.Loop(bus, bus.consumer(durable), "alerting", stop, loop_metrics.loop(durable.name))

    pipeline = Pipeline(Doorkeeper(directory.subscribers, directory.silences), ttl_ms=3_600_000)
    intake = Intake(bus, ALERTING_SIGNALS, directory.rules, pipeline, metrics, hand_over, clock_ms=clock_ms)
    await intake.start()
    lease = Lease(bus.bucket(LEASES), LEASE_KEY, b"the only one", clock=loop.time)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consume.consume_in_order(looping(ALERTING_SIGNALS), intake.handle))
        tasks.create_task(Keeper(bus, lease, metrics, clock_ms=clock_ms).run(stop))
        for name, sender in senders.items():
            tasks.create_task(consume.consume_queue(looping(ALERTING_SEND[name, "info"]), sender.handle))
        yield
        stop.set()


async def facts(bus: MemoryBus, stream: Stream) -> list[AnyEvent]:
    state = await bus.stream_state(stream)
    return [message.event() for message in await bus.reader(stream, after=0).through(state.last_seq)]
