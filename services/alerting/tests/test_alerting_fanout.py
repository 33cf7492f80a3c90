"""One signal, ten thousand subscribers: everybody gets it, and nobody twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from prometheus_client import CollectorRegistry
from tests.alerts import CONFIRMED_MS, a_signal
from tests.virtual_time import clock_ms, run

from alerting.channels import Ambiguous, Message, Sent
from alerting.config import AlertingSection, EmailSection
from alerting.directory import Directory
from alerting.intake import Intake
from alerting.judging.audience import Doorkeeper
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from alerting.reasons import Undelivered
from alerting.sending.gates import Gates
from alerting.sending.sender import Sender
from tocsin_common.bus import consume
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, SignalRule, Subscriber
from tocsin_common.errors import Retryable
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import ALERTING_SEND, ALERTING_SIGNALS, SEND

EVERYBODY = [f"s{number}" for number in range(10_000)]


class Crowd:
    """Ten thousand receivers. Every hundredth fails at first; every hundredth takes it, but its answer is lost."""

    dedupes = True

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.got: Counter[str] = Counter()

    async def send(self, message: Message, destination: Destination) -> Sent:
        name = destination.address
        self.asked[name] += 1
        await asyncio.sleep(0.01)
        if name.endswith("17@x") and self.asked[name] == 1:
            raise Retryable(Undelivered.SERVER_ERROR)
        self.got[message.delivery_id] += 1
        if name.endswith("42@x") and self.asked[name] == 1:
            raise Ambiguous(Undelivered.TIMEOUT)
        return Sent(name)

    async def close(self) -> None: ...


async def everybody_is_told() -> None:
    bus, crowd, stop = MemoryBus(), Crowd(), asyncio.Event()
    metrics, counted = Metrics(CollectorRegistry()), BusMetrics(CollectorRegistry())
    directory = Directory(bus, metrics)
    for name in EVERYBODY:
        to = [Destination(channel="email", address=f"{name}@x")]
        directory.subscribers[name] = Subscriber(subscriber_id=name, name=name, destinations=to)
    directory.rules.put(SignalRule(rule_id="all", name="all", subscribers=EVERYBODY))
    settings = AlertingSection(email=EmailSection(per_s=1000, workers=64))
    sender = Sender(
        bus,
        "email",
        crowd,
        directory,
        metrics,
        Gates(bus, settings, metrics, clock_ms=clock_ms),
        ttl_s=3600,
        max_attempts=5,
        random=Random(1),
        clock_ms=clock_ms,
    )
    pipeline = Pipeline(Doorkeeper(directory.subscribers, directory.silences), ttl_ms=3_600_000)
    intake = Intake(bus, ALERTING_SIGNALS, directory.rules, pipeline, metrics, sender.begin)
    await intake.start()
    await bus.publish([a_signal(CONFIRMED_MS)])
    signals, queue = (
        consume.Loop(bus, bus.consumer(durable), "alerting", stop, counted.loop(durable.name))
        for durable in (ALERTING_SIGNALS, ALERTING_SEND["email", "info"])
    )
    work = asyncio.gather(
        consume.consume_in_order(signals, intake.handle), consume.consume_queue(queue, sender.handle, workers=256)
    )
    while len(crowd.got) < len(EVERYBODY) or (await bus.stream_state(SEND)).messages:  # noqa: ASYNC110  nothing announces it
        await asyncio.sleep(1.0)
    stop.set()
    await work
    assert len(crowd.got) == len(EVERYBODY)
    twice = {name for name, count in crowd.asked.items() if count > 1}
    assert twice == {f"{name}@x" for name in EVERYBODY if name.endswith(("17", "42"))}
    assert Counter(crowd.got.values()) == {1: 9_900, 2: 100}  # whose answer was lost gets a copy with the same id
    assert asyncio.get_running_loop().time() < 13 + 2  # at 1,000 a second, what is repeated included


def test_one_signal_reaches_ten_thousand_subscribers_once_each() -> None:
    run(everybody_is_told())
