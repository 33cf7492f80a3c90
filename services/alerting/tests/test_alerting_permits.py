"""Three replicas ask for permits in virtual time: what goes out is the allowed rate, never more and hardly less."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.channels import WebhookServer
from tests.virtual_time import clock_ms, run

from alerting.channels import Message
from alerting.channels.http import Outbound
from alerting.channels.webhook import Webhook
from alerting.config import AlertingSection
from alerting.metrics import Metrics
from alerting.sending.clock import ClockMs
from alerting.sending.closures import Closures
from alerting.sending.gate import HELD, Gate, Permit
from alerting.sending.gates import Gates
from alerting.sending.rates import Rates, Route, Scope
from alerting.sending.slots import Limit, lifetime_ms, next_slot, remembered, reserve
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.config import NatsSection
from tocsin_common.documents import Destination
from tocsin_common.errors import Retryable
from tocsin_common.events import ChannelName
from tocsin_common.streams import CLOSURES, PERMITS

LIMITS = st.lists(
    st.builds(Limit, st.integers(1, 40), st.integers(100, 60_000)), min_size=1, max_size=2, unique=True
).map(tuple)


@given(LIMITS, st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 50)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_window_holds_more_slots_than_the_limit(limits: tuple[Limit, ...], asked: list[tuple[int, int]]) -> None:
    now_ms, kept, given_out = 1_000_000, list[int](), list[int]()
    for later_ms, wanted in asked:
        now_ms += later_ms
        found = reserve(kept, limits, now_ms, wanted=wanted, until_ms=now_ms + 400)
        assert all(now_ms <= slot <= now_ms + 400 for slot in found)
        given_out += found
        kept = remembered([*kept, *found], limits, now_ms)
    assert given_out == sorted(given_out)
    for limit in limits:
        assert most_in_a_window(given_out, limit) <= limit.count


def most_in_a_window(moments: Sequence[float], limit: Limit) -> int:
    """Of all windows; those that begin with a request are enough."""
    return max((sum(start <= one < start + limit.window_ms for one in moments) for start in moments), default=0)


@given(LIMITS)
@settings(max_examples=40, deadline=None)
def test_who_asks_for_everything_gets_all_that_is_allowed(limits: tuple[Limit, ...]) -> None:
    longest_ms = 20 * lifetime_ms(limits)
    slots = reserve([], limits, 0, wanted=2_000, until_ms=longest_ms)
    slowest = min(limit.count / limit.spaced_ms for limit in limits)
    passed_ms = next_slot(slots, limits, 0)
    assert len(slots) >= slowest * passed_ms * 0.999


def gate_of(bus: Bus, *, workers: int, clock_ms: ClockMs) -> Gate:
    """The gate of one replica."""
    closures = Closures(bus.bucket(CLOSURES), Metrics(CollectorRegistry()), clock_ms)
    return Gate(bus.bucket(PERMITS), closures, workers=workers, clock_ms=clock_ms)


@dataclass
class World:
    """Some replicas that send to the same receivers, and what these receive."""

    replicas: int
    workers: int = 16
    bus: MemoryBus = field(default_factory=MemoryBus)
    received: list[tuple[float, str, int]] = field(default_factory=list)
    """When (milliseconds), by whom, of which rank."""

    def __post_init__(self) -> None:
        self.gates = [gate_of(self.bus, workers=self.workers, clock_ms=clock_ms) for _ in range(self.replicas)]

    async def deliver(self, gate: Gate, route: Route, rank: int = 2, *, takes_s: float = 0.005) -> None:
        """As the sender does, coming back when told to."""
        permit = await come_back_until_permitted(gate, route, rank)
        async with gate.connection(rank):
            await asyncio.sleep(takes_s)
            await gate.ready(permit)
            self.received.append((asyncio.get_running_loop().time() * 1000, route.destination, rank))

    def moments(self, destination: str | None = None) -> list[float]:
        return [at_ms for at_ms, to, _ in self.received if destination in (None, to)]


def used(moments: Sequence[float], *limits: Limit) -> float:
    """The part of the allowed rate that was used: how long it would have taken at best, to how long it took."""
    ideal: list[float] = []
    for _ in moments:
        earliest = [ideal[-limit.count] + limit.window_ms for limit in limits if len(ideal) >= limit.count]
        ideal.append(max(earliest, default=0.0))
    return ideal[-1] / (moments[-1] - moments[0])


@pytest.mark.parametrize("replicas", [1, 3])
def test_replicas_together_send_at_the_allowed_rate_and_never_above(replicas: int) -> None:
    async def scenario() -> None:
        world, random = World(replicas), Random(replicas)
        route = Rates(AlertingSection()).route
        work = [
            world.deliver(random.choice(world.gates), route("telegram", str(chat)), takes_s=random.uniform(0.001, 0.03))
            for chat in range(900)
        ]
        await asyncio.gather(*work)
        limit = Limit(30, 1000)
        assert len(world.received) == 900
        assert most_in_a_window(world.moments(), limit) <= limit.count
        assert used(world.moments(), Limit(3, 100)) >= 0.95  # the same rate: it comes in small portions

    run(scenario())


@pytest.mark.parametrize(
    ("chat", "messages", "limits"),
    [("42", 60, [Limit(1, 1000)]), ("-42", 90, [Limit(1, 1000), Limit(20, 60_000)])],
    ids=["chat", "group"],
)
def test_a_chat_has_a_pace_of_its_own(chat: str, messages: int, limits: list[Limit]) -> None:
    async def scenario() -> None:
        world = World(3)
        route = Rates(AlertingSection()).route("telegram", chat)
        await asyncio.gather(*(world.deliver(world.gates[n % 3], route) for n in range(messages)))
        assert len(world.received) == messages
        assert all(most_in_a_window(world.moments(), limit) <= limit.count for limit in limits)
        assert used(world.moments(), *limits) >= 0.95

    run(scenario())


@pytest.mark.parametrize("takes_s", [0.005, 0.04], ids=["in time", "too late for their first permits"])
@pytest.mark.parametrize("channel", ["webhook", "webpush"])
def test_what_falls_due_when_a_candle_closes_is_not_spread_over_the_second_of_its_host(
    channel: ChannelName, takes_s: float
) -> None:
    async def scenario() -> None:
        world, limit = World(3), Limit(100, 1000)
        route = Rates(AlertingSection()).route(channel, "https://receiver.example/hook")
        work = (world.deliver(world.gates[0], route, takes_s=takes_s) for _ in range(world.workers))
        await asyncio.gather(*work)
        assert world.moments()[-1] - world.moments()[0] < 10
        await asyncio.gather(*(world.deliver(world.gates[n % 3], route) for n in range(240)))
        assert most_in_a_window(world.moments(), limit) <= limit.count

    run(scenario())


def test_a_slow_chat_delays_no_other() -> None:
    async def scenario() -> None:
        world = World(1, workers=4)
        route = Rates(AlertingSection()).route
        slow = asyncio.gather(*(world.deliver(world.gates[0], route("telegram", "-1")) for _ in range(40)))
        others = [world.deliver(world.gates[0], route("telegram", str(chat))) for chat in range(1, 61)]
        await asyncio.gather(*others)
        assert asyncio.get_running_loop().time() < 3.5
        slow.cancel()

    run(scenario())


@pytest.mark.parametrize("destination", ["42", "one of many"])
def test_where_a_queue_waits_the_critical_go_first(destination: str) -> None:
    async def scenario() -> None:
        world = World(1)
        route = Rates(AlertingSection()).route
        addresses = [destination if destination == "42" else str(chat) for chat in range(200)]
        queue = [asyncio.create_task(world.deliver(world.gates[0], route("telegram", to))) for to in addresses]
        await asyncio.sleep(2.5)
        before = len(world.received)
        await world.deliver(world.gates[0], route("telegram", destination), rank=0)
        assert len(world.received) <= before + 4
        for task in queue:
            task.cancel()

    run(scenario())


def test_who_finds_too_many_waiting_for_a_destination_is_told_to_come_back_one_after_another() -> None:
    async def scenario() -> None:
        world = World(1)
        route = Rates(AlertingSection()).route("telegram", "42")
        waiting = []
        for _ in range(2):
            waiting += [asyncio.create_task(world.deliver(world.gates[0], route)) for _ in range(HELD + 2)]
            await asyncio.sleep(0.1)
        delays = []
        for _ in range(3):
            with pytest.raises(Retryable) as told:
                await world.gates[0].permit(route, 2)
            delays.append(told.value.retry_after_s or 0.0)
        assert delays == sorted(delays)
        assert all(later - sooner == pytest.approx(1.04) for sooner, later in pairwise(delays))
        for task in waiting:
            task.cancel()

    run(scenario())


def test_a_replica_that_dies_takes_a_slice_along_and_no_more() -> None:
    async def scenario() -> None:
        world = World(2)
        route = Route("", "", Scope("key", (Limit(30, 1000),), alone=True), Scope("own"))
        dying = [asyncio.create_task(world.deliver(world.gates[0], route)) for _ in range(64)]
        await asyncio.sleep(0.1)
        for task in dying:
            task.cancel()
        await asyncio.gather(*(world.deliver(world.gates[1], route) for _ in range(300)))
        assert asyncio.get_running_loop().time() < 330 / 30 * 1.04 + 0.5

    run(scenario())


def test_answers_share_the_rates_of_alerts_and_do_not_wait_behind_them() -> None:
    async def scenario() -> None:
        bus, loop, random = MemoryBus(), asyncio.get_running_loop(), Random(5)
        world = World(2, bus=bus)
        settings, metrics = AlertingSection(), Metrics(CollectorRegistry())
        gates = [Gates(bus, settings, metrics, clock_ms=clock_ms) for _ in world.gates]
        waited_s: list[float] = []

        async def answer(after_s: float, chat: str) -> None:
            await asyncio.sleep(after_s)
            asked_s = loop.time()
            await random.choice(gates).ask("telegram", chat, partial(arrive, chat))
            waited_s.append(loop.time() - asked_s)

        async def arrive(chat: str) -> None:
            world.received.append((loop.time() * 1000, chat, 0))

        alerts = [
            world.deliver(random.choice(gates)["telegram"], gates[0].route("telegram", str(chat)))
            for chat in range(600)
        ]
        answers = [answer(random.uniform(1, 15), f"{chat}") for chat in range(1_000, 1_060)]
        talk = [answer(2.0, "42") for _ in range(5)]
        await asyncio.gather(*alerts, *answers, *talk)
        assert len(world.received) == 665
        assert most_in_a_window(world.moments(), Limit(30, 1000)) <= 30
        assert most_in_a_window(world.moments("42"), Limit(1, 1000)) == 1
        assert sum(wait_s > 0.6 for wait_s in waited_s) <= 5  # in the one chat they wait for each other

    run(scenario())


async def test_what_a_receiver_asked_for_is_known_to_all_and_to_who_comes_later(jetstream_bus: JetStreamBus) -> None:
    now_ms = 1_000_000
    registries = [CollectorRegistry() for _ in range(3)]
    first, second, third = (
        Closures(jetstream_bus.bucket(CLOSURES), Metrics(registry), lambda: now_ms) for registry in registries
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(second.follow(stop))
        await first.close("a", 30.0)
        await first.close("a", 10.0)  # shorter than what is known
        await closed(registries[1], 1)
        await second.close("a", 60.0)
        await first.close("b", float("inf"))
        await closed(registries[1], 2)
        tasks.create_task(third.follow(stop))
        await closed(registries[2], 2)
        stop.set()
    assert [one.until_ms("a") for one in (second, third)] == [now_ms + 60_000] * 2
    assert third.until_ms("b") == now_ms + 24 * 3_600_000
    now_ms += 60_000
    assert registries[2].get_sample_value("alerting_receivers_closed") == 1


async def closed(registry: CollectorRegistry, count: int) -> None:
    async with asyncio.timeout(10):
        while registry.get_sample_value("alerting_receivers_closed") != count:  # noqa: ASYNC110  a metric announces nothing
            await asyncio.sleep(0.001)


async def test_three_replicas_keep_a_rate_at_a_real_server(jetstream_bus: JetStreamBus, nats_url: str) -> None:
    limit = Limit(60, 1_500, parts=8)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(WebhookServer())
        channel = Webhook(Outbound(timeout_s=5.0, allow_private=True, connections=24))
        to = Destination(channel="webhook", address=server.url)
        stack.push_async_callback(channel.close)
        gates = []
        for number in range(3):
            bus = JetStreamBus(await Connection.open(NatsSection(url=nats_url), name=f"replica {number}"))
            stack.push_async_callback(bus.close)
            gates.append(gate_of(bus, workers=8, clock_ms=lambda: time.time_ns() // 1_000_000))
        route = Route("", "", Scope("everybody", (limit,), alone=True), Scope("nobody"))

        async def deliver(number: int) -> None:
            gate = gates[number % 3]
            permit = await come_back_until_permitted(gate, route)
            async with gate.connection(2):
                await gate.ready(permit)
                await channel.send(Message(str(number), "alert", "title", "text", {}, 0), to)

        await asyncio.gather(*(deliver(number) for number in range(150)))
        arrived_ms = [message.at_s * 1000 for message in server.accepted]
    assert len(arrived_ms) == 150
    assert most_in_a_window(arrived_ms, limit) <= limit.count


async def come_back_until_permitted(gate: Gate, route: Route, rank: int = 2) -> Permit:
    """As the queue does."""
    while True:
        try:
            return await gate.permit(route, rank)
        except Retryable as again:
            await asyncio.sleep(again.retry_after_s or 0.0)
