"""Digests from the signal to the message, in virtual time and on a real server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry
from tests.alerting_live import Receiver, alerting, facts
from tests.alerts import a_signal
from tests.system import until
from tests.virtual_time import clock_ms, run

from alerting.channels import Ambiguous
from alerting.config import AlertingSection
from alerting.digests.keeper import LEASE_KEY, SNAPSHOT_KEY, Keeper
from alerting.directory import Directory
from alerting.metrics import Metrics
from alerting.pipeline import deliveries
from alerting.reasons import Undelivered
from alerting.sending.gates import Gates
from alerting.sending.sender import Sender
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.errors import Retryable
from tocsin_common.events import DeliveryChanged, DigestLine, SendDue
from tocsin_common.streams import ALERT_RULES, DELIVERIES, LEASES, SEND, SNAPSHOTS, SUBSCRIBERS
from tocsin_common.subjects import delivery

T = TypeVar("T")

HOUR_S = 3600
TO_FULL_HOUR_S = 120
"""Virtual time begins at 23:58."""

ANN = Subscriber(
    subscriber_id="ann", name="Ann", destinations=[Destination(channel="webhook", address="ann", on_unknown="resend")]
)


class House:
    """A bus with one rule for Ann, who listens on one channel."""

    def __init__(self, receiver: Receiver | None = None, digests: Any = None, **rule: Any) -> None:
        self.bus = MemoryBus(clock_ms)
        self.receiver = receiver or Receiver()
        self._rule = SignalRule(rule_id="r", name="r", subscribers=["ann"], **rule)
        self._ann = Subscriber(subscriber_id="ann", name="Ann", destinations=ANN.destinations, digests=digests or {})

    async def live(self, seconds: float) -> None:
        """Alerting runs for so long."""
        await self.bus.bucket(ALERT_RULES).put("r", encode(self._rule))
        await self.bus.bucket(SUBSCRIBERS).put("ann", encode(self._ann))
        async with alerting(self.bus, {"webhook": self.receiver}):
            await asyncio.sleep(seconds)

    async def signal(self, *symbols: str) -> None:
        """These are confirmed now."""
        await self.bus.publish([a_signal(clock_ms(), timeframe="1m", symbol=symbol) for symbol in symbols])

    @property
    def told(self) -> list[tuple[int, str]]:
        """What Ann got: the second, and the title."""
        return [(int(at_s), message.title) for at_s, message in self.receiver.took["ann"]]

    async def states(self) -> list[tuple[str, str]]:
        """How the deliveries ended, and why."""
        steps = [event for event in await facts(self.bus, DELIVERIES) if isinstance(event, DeliveryChanged)]
        return sorted((one.state, one.reason) for one in {one.delivery_id: one for one in steps}.values())


def test_twenty_symbols_that_signal_at_the_same_close_are_one_message_of_twenty_lines() -> None:
    async def simulation() -> None:
        house = House(group_by=["strategy"])
        await house.signal(*(f"S{n}/USDT" for n in range(20)))
        await house.live(60)
        [(at_s, title)] = house.told
        assert (title, at_s <= 7) == ("20 alerts at once", True)
        [(_, message)] = house.receiver.took["ann"]
        assert sorted(line.split(": ")[1] for line in message.text.split("\n")) == sorted(
            f"Long S{n}/USDT, 1m" for n in range(20)
        )
        assert await house.states() == [("digested", "grouped")] * 20 + [("sent", "")]

    run(simulation())


def test_an_hourly_digest_goes_out_after_the_full_hour() -> None:
    async def simulation() -> None:
        house = House(digests={"info": "hourly"})
        living = asyncio.create_task(house.live(2 * TO_FULL_HOUR_S))
        for _ in range(3):
            await house.signal("A/B")
            await asyncio.sleep(50)
        await living
        [(at_s, title)] = house.told
        assert title == "3 alerts of the last hour"
        assert TO_FULL_HOUR_S + 5 <= at_s <= TO_FULL_HOUR_S + 7

    run(simulation())


def test_boundaries_that_nobody_was_there_for_are_caught_up_once() -> None:
    """What waited for the first of them in one digest, and what missed its own in another."""

    async def simulation() -> None:
        house = House(digests={"info": "hourly"})
        await house.signal("A/B", "C/D")
        await house.live(60)
        for _ in range(4):
            await asyncio.sleep(HOUR_S)
            await house.signal("A/B")
        before_s = asyncio.get_running_loop().time()
        await house.live(120)
        assert [title for _, title in house.told[:2]] == ["2 alerts of the last hour", "3 late alerts"]
        assert all(before_s <= at_s <= before_s + 40 for at_s, _ in house.told[:2])
        await house.live(HOUR_S)
        assert [title for _, title in house.told[2:]] == ["Long A/B, 1m: EMA cross"]

    run(simulation())


def test_what_came_in_while_alerting_was_away_comes_in_one_digest() -> None:
    async def simulation() -> None:
        house = House()
        for n in range(30):
            await house.signal(f"S{n % 3}/USDT")
            await asyncio.sleep(60)
        await house.live(300)
        late = [title for _, title in house.told if "late" in title]
        assert late == ["16 late alerts"]
        assert len(house.told) == 1 + 14

    run(simulation())


def test_late_alerts_that_are_worth_nothing_are_dropped_and_it_is_stated() -> None:
    async def simulation() -> None:
        house = House(late="drop", late_after_s=60)
        await house.signal("A/B")
        await asyncio.sleep(61)
        await house.live(30)
        assert not house.told
        assert await house.states() == [("expired", "late")]

    run(simulation())


@pytest.mark.parametrize(
    "faults",
    [
        [Retryable(Undelivered.SERVER_ERROR)] * 10,
        [Retryable(Undelivered.RATE_LIMITED, retry_after_s=1000.0)],
    ],
    ids=["its attempts are used up", "it is told to wait for too long"],
)
def test_what_would_come_late_is_put_aside_at_once(faults: Sequence[Retryable]) -> None:
    async def simulation() -> None:
        house = House(Receiver(faults=deque(faults)))
        await house.signal("A/B")
        await house.live(2000)
        [(_, title)] = house.told
        assert title == "Long A/B, 1m: EMA cross"
        assert await house.states() == [("digested", "late"), ("sent", "")]

    run(simulation())


def test_in_doubt_an_alert_is_told_by_itself_however_late() -> None:
    async def simulation() -> None:
        doubt = [Ambiguous(Undelivered.TIMEOUT), *[Retryable(Undelivered.SERVER_ERROR)] * 8]
        house = House(Receiver(faults=deque(doubt)), late_after_s=10)
        await house.signal("A/B")
        await house.live(2000)
        assert await house.states() == [("sent", "")]
        assert len({message.delivery_id for _, message in house.receiver.took["ann"]}) == 1

    run(simulation())


def test_lines_join_a_digest_until_a_request_may_have_been_taken_then_come_in_the_next() -> None:
    async def simulation() -> None:
        doubt = [Retryable(Undelivered.SERVER_ERROR)] * 6 + [Ambiguous(Undelivered.TIMEOUT)]
        house = House(Receiver(faults=deque(doubt)), group_by=["rule"], group_wait_s=1)
        living = asyncio.create_task(house.live(400))
        for _ in range(20):
            await house.signal("A/B")
            await asyncio.sleep(10)
        await living
        titles = [title for _, title in house.told]
        assert titles[0] == titles[1]
        assert int(titles[0].split()[0]) > 2
        assert len(titles) == len(set(titles)) + 1 or len(titles) > 3
        digested = [state for state, _ in await house.states()].count("digested")
        assert digested == 20
        ids = [message.delivery_id for _, message in house.receiver.took["ann"]]
        assert ids[0] == ids[1] != ids[2]

    run(simulation())


def test_a_second_keeper_waits_until_the_first_is_gone() -> None:
    async def simulation() -> None:
        house = House(digests={"info": "hourly"})
        bus, loop = house.bus, asyncio.get_running_loop()
        registries = [CollectorRegistry(), CollectorRegistry()]
        keepers = []
        for name, registry in enumerate(registries):
            lease = Lease(bus.bucket(LEASES), LEASE_KEY, f"replica {name}".encode(), clock=loop.time)
            keepers.append(Keeper(bus, lease, Metrics(registry), clock_ms=clock_ms))
        first, second = asyncio.Event(), asyncio.Event()
        running = [asyncio.create_task(keeper.run(end)) for keeper, end in zip(keepers, (first, second), strict=True)]
        await put_lines(bus, 1, 2)
        await asyncio.sleep(10)
        assert waiting(registries) == [2, 0]
        first.set()
        await asyncio.sleep(10)
        assert waiting(registries) == [0, 2]
        second.set()
        await asyncio.wait(running)

    run(simulation())


def waiting(registries: Sequence[CollectorRegistry]) -> list[float | None]:
    return [registry.get_sample_value("alerting_digest_lines_waiting") for registry in registries]


def a_line(n: int, *, due_ms: int, channel: Any = "webhook") -> DigestLine:
    [(delivery_id, place, _)] = deliveries(f"alert {n}", ANN)
    return DigestLine(
        delivery_id=delivery_id,
        alert_id=f"alert {n}",
        subscriber_id="ann",
        channel=channel,
        place=place,
        box="late",
        due_ms=due_ms,
        reason="late",
        kind="signal",
        symbol="A/B",
        strategy="ema_cross",
        ts_ms=n,
        stored_ms=n,
        title=f"alert {n}",
        text="",
        fields={},
    )


async def put_lines(bus: MemoryBus | JetStreamBus, *numbers: int, due_ms: int = 10**13) -> None:
    """Deliveries put aside as the sender does it."""
    for n in numbers:
        line = a_line(n, due_ms=due_ms)
        about = {"delivery_id": line.delivery_id, "alert_id": line.alert_id, "subscriber_id": "ann"}
        change = DeliveryChanged(**about, channel="webhook", state="aside", attempt=0, at_ms=n, reason="late")  # type: ignore[arg-type]
        await bus.publish([change, line])


@asynccontextmanager
async def keeping(bus: JetStreamBus, metrics: Metrics) -> AsyncIterator[None]:
    stop = asyncio.Event()
    lease = Lease(bus.bucket(LEASES), LEASE_KEY, b"the only one")
    running = asyncio.create_task(Keeper(bus, lease, metrics).run(stop))
    yield
    stop.set()
    await running


async def there(look: Callable[[], Awaitable[T | None]]) -> T:
    """What is found at last."""
    found: list[T] = []

    async def looked() -> bool:
        seen = await look()
        found.extend([] if seen is None else [seen])
        return seen is not None

    await until(looked, 20.0)
    return found[0]


async def ends_of(bus: JetStreamBus, *numbers: int) -> set[tuple[str, str]] | None:
    """The last state and reference of deliveries that were put aside, once all have ended."""
    subjects = [delivery("webhook", a_line(n, due_ms=0).delivery_id) for n in numbers]
    steps = [message.event() for subject in subjects if (message := await bus.last(DELIVERIES, subject))]
    ends = {(step.state, step.provider_ref) for step in steps if isinstance(step, DeliveryChanged)}
    return None if "aside" in {state for state, _ in ends} else ends


async def test_on_a_real_server_lines_become_a_digest_and_a_restart_makes_no_other(jetstream_bus: JetStreamBus) -> None:
    bus, receiver, registry = jetstream_bus, Receiver(), CollectorRegistry()
    metrics = Metrics(registry)
    directory = Directory(bus, metrics)
    directory.subscribers["ann"] = ANN
    limits = {"ttl_s": 60, "max_attempts": 3}
    gates = Gates(bus, AlertingSection(), metrics)
    sender = Sender(bus, "webhook", receiver, directory, metrics, gates, random=Random(1), **limits)  # type: ignore[arg-type]
    await put_lines(bus, 3, 1, 2, due_ms=0)
    async with keeping(bus, metrics):
        due = await there(lambda: bus.last(SEND, "send.webhook.*"))
        work = due.event()
        assert isinstance(work, SendDue)
        await sender.handle(Incoming(work, due))
        ends = await there(lambda: ends_of(bus, 1, 2, 3))
    assert ends == {("digested", work.delivery_id)}
    [(_, message)] = receiver.took["ann"]
    assert [line.split(": ")[1] for line in message.text.split("\n")[2:]] == ["alert 1", "alert 2", "alert 3"]
    await bus.bucket(SNAPSHOTS).delete(SNAPSHOT_KEY)
    end_seq = (await bus.stream_state(DELIVERIES)).last_seq
    async with keeping(bus, metrics):
        await there(lambda: bus.bucket(SNAPSHOTS).get(SNAPSHOT_KEY))
    assert (await bus.stream_state(DELIVERIES)).last_seq == end_seq
