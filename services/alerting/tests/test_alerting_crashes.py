"""Alerting is killed at any point, again and again, and nobody is told twice or forgotten.

A seeded simulation in virtual time: the whole service on a bus in memory, receivers that fail in every way, and an
abort before or after a randomly chosen step (a store, a request, an acknowledgement). What was acknowledged survives,
nothing else; then the service starts again. A failing seed reproduces: `pytest -k 'crashes and 17'`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Awaitable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.alerts import a_signal
from tests.virtual_time import clock_ms, run

from alerting.channels import Ambiguous, Message, Sent
from alerting.config import AlertingSection
from alerting.digests.keeper import LEASE_KEY, SNAPSHOT_KEY, Keeper
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
from tocsin_common.bus.protocol import Received, Stored
from tocsin_common.documents import Destination, PriceRule, SignalRule, Silence, Subscriber, encode
from tocsin_common.errors import Rejected, Retryable, Unreachable
from tocsin_common.events import (
    CHANNELS as ALL_CHANNELS,
)
from tocsin_common.events import (
    TERMINAL_STATES,
    AlertRaised,
    AlertSuppressed,
    ChannelName,
    DeliveryChanged,
    DigestEnded,
    DigestLine,
    Event,
    SendDue,
    SignalRaised,
    TradesReceived,
)
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import (
    ALERT_RULES,
    ALERTING_SEND,
    ALERTING_SIGNALS,
    ALERTING_TRADES,
    ALERTS,
    DELIVERIES,
    DIGESTS,
    LEASES,
    SEND,
    SILENCES,
    SNAPSHOTS,
    SUBSCRIBERS,
    Durable,
    Stream,
)
from tocsin_common.subjects import delivery

Rings = dict[tuple[str, int], str | None]
"""By rule and market time of the match: why it did not ring; None: it did."""

DELIVERIES_OF = {
    ("all", "ada"): 3,
    ("brief", "cyd"): 1,
    ("hours", "dan"): 2,
    ("soon", "cyd"): 1,
    ("soon", "eve"): 1,
    ("stale", "eve"): 1,
    ("all", "bob"): 2,
    ("calm", "bob"): 2,
    ("price", "ada"): 3,
    ("seldom", "ada"): 2,
    ("sticky", "bob"): 2,
}
"""Deliveries of an alert, by rule and subscriber."""

SEEDS = [*range(int(os.environ.get("TOCSIN_CRASH_SEEDS", "20"))), 550]
CHANGING_SEEDS = [*range(1000, 1008), 1056, 1058, 1102, 1240]
"""In the last four, a crash comes between the ledger's opening and its alert."""

TRADE_EVERY_MS = 700


class Killer:
    """Kills at the `left`-th step from now: from then on, no step of this life ever ends."""

    def __init__(self, left: int | None, random: Random, outage_rate: float) -> None:
        self._left, self._random, self._outage_rate = left, random, outage_rate
        self.killed = asyncio.Event()

    async def store(self) -> None:
        """Before or after a store: it may also be that the server cannot be reached just then."""
        await self.step()
        if self._random.random() < self._outage_rate:
            raise Unreachable("no receipt")

    async def step(self) -> None:
        """Before or after something that outlives us."""
        if self._left is not None and not self.killed.is_set():
            self._left -= 1
            if self._left <= 0:
                self.killed.set()
        if self.killed.is_set():
            await asyncio.Future()
        await asyncio.sleep(0)


class MortalBus:
    """The bus as one life of the service sees it: every store is a step on its own, before and after it."""

    def __init__(self, bus: MemoryBus, killer: Killer) -> None:
        self._bus, self._killer = bus, killer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        stored = []
        for event in events:
            await self._killer.store()
            stored += await self._bus.publish([event])
        await self._killer.store()
        return stored

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        await self._killer.store()
        stored = await self._bus.append(event, expected_last=expected_last)
        await self._killer.store()
        return stored

    def consumer(self, durable: Durable) -> Any:
        return MortalConsumer(self._bus.consumer(durable), self._killer)


class MortalConsumer:
    def __init__(self, consumer: Any, killer: Killer) -> None:
        self._consumer, self._killer = consumer, killer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def ack(self, messages: Sequence[Received]) -> None:
        await self._killer.step()
        await self._consumer.ack(messages)
        await self._killer.step()

    async def nak(self, message: Received, delay_s: float) -> None:
        await self._killer.step()
        await self._consumer.nak(message, delay_s)
        await self._killer.step()


class Receivers:
    """Everybody who is told, on every channel, for the whole simulation."""

    def __init__(self, random: Random, fault_rate: float) -> None:
        self._random, self._fault_rate = random, fault_rate
        self.accepted: Counter[str] = Counter()
        self.said: dict[str, set[str]] = defaultdict(set)

    async def take(self, message: Message, killer: Killer) -> str:
        await killer.step()
        fault = self._random.random() < self._fault_rate
        kind = self._random.randrange(5) if fault else 5
        if kind == 0:
            raise Retryable(Undelivered.RATE_LIMITED, retry_after_s=self._random.choice([None, 0.2, 20.0]))
        if kind == 1:
            raise Retryable(Undelivered.SERVER_ERROR)
        if kind == 2:
            raise Ambiguous(Undelivered.CONNECTION_LOST)
        if kind == 3 and self._random.random() < 0.3:
            raise Rejected(Undelivered.REFUSED)
        self.accepted[message.delivery_id] += 1
        self.said[message.delivery_id].add(message.title)
        if kind == 4:
            raise Ambiguous(Undelivered.TIMEOUT)
        await killer.step()
        return f"ref-{message.delivery_id}"


class SimulatedChannel:
    def __init__(self, receivers: Receivers, killer: Killer, *, dedupes: bool) -> None:
        self._receivers, self._killer, self.dedupes = receivers, killer, dedupes

    async def send(self, message: Message, destination: Destination) -> Sent:
        return Sent(await self._receivers.take(message, self._killer))

    async def close(self) -> None: ...


CHANNELS: dict[ChannelName, bool] = {"telegram": False, "discord": False, "webhook": True}
"""What the simulated subscribers use, and whether it recognises a second copy; e-mail is not configured."""


def documents() -> tuple[list[SignalRule | PriceRule], list[Subscriber]]:
    rules: list[SignalRule | PriceRule] = [
        SignalRule(rule_id="all", name="all", subscribers=["ada", "bob", "nobody"]),
        PriceRule(rule_id="price", name="price", subscribers=["ada"], exchange="x", symbol="A/B", level=100.0),
        SignalRule(rule_id="calm", name="calm", subscribers=["bob"], cooldown_s=150, frequency="once_per_candle"),
        PriceRule(
            rule_id="seldom",
            name="seldom",
            subscribers=["ada"],
            channels=["webhook"],
            exchange="x",
            symbol="A/B",
            level=100.0,
            at_most_every_s=2,
        ),
        PriceRule(
            rule_id="sticky",
            name="sticky",
            subscribers=["bob"],
            exchange="x",
            symbol="A/B",
            level=100.0,
            rearm_percent=5.0,
        ),
        SignalRule(rule_id="brief", name="brief", subscribers=["cyd"], group_by=["exchange"], group_wait_s=30),
        SignalRule(rule_id="hours", name="hours", subscribers=["dan"], severity="warning"),
        SignalRule(rule_id="soon", name="soon", subscribers=["cyd", "eve"], late_after_s=40),
        SignalRule(rule_id="stale", name="stale", subscribers=["eve"], late_after_s=40, late="drop"),
    ]
    ada = Subscriber(
        subscriber_id="ada",
        name="Ada",
        destinations=[
            Destination(channel="telegram", address="1", on_unknown="hold"),
            Destination(channel="webhook", address="https://ada.example/1"),
            Destination(channel="webhook", address="https://ada.example/2"),
        ],
    )
    bob = Subscriber(
        subscriber_id="bob",
        name="Bob",
        destinations=[
            Destination(channel="discord", address="https://bob.example", on_unknown="resend"),
            Destination(channel="email", address="bob@example.org"),
        ],
    )
    cyd = Subscriber(
        subscriber_id="cyd", name="Cyd", destinations=[Destination(channel="webhook", address="https://cyd.example")]
    )
    dan = Subscriber(
        subscriber_id="dan",
        name="Dan",
        destinations=[
            Destination(channel="telegram", address="4", on_unknown="hold"),
            Destination(channel="webhook", address="https://dan.example"),
        ],
        digests={"warning": "hourly"},
    )
    eve = Subscriber(
        subscriber_id="eve",
        name="Eve",
        destinations=[Destination(channel="discord", address="https://eve.example", on_unknown="resend")],
    )
    return rules, [ada, bob, cyd, dan, eve]


def minute(number: int) -> SignalRaised:
    return a_signal((number + 1) * 60_000, exchange="x", symbol="A/B", timeframe="1m")


def trade(number: int, price: float) -> TradesReceived:
    return TradesReceived(
        exchange="x",
        symbol="A/B",
        source="s",
        cursor=number,
        received_ms=0,
        ts_ms=[number * TRADE_EVERY_MS],
        price=[price],
        amount=[1.0],
        side="b",
        trade_id=[str(number)],
    )


async def life(bus: MemoryBus, receivers: Receivers, random: Random, killer: Killer, feed: asyncio.Task[None]) -> None:
    """One life of the service: until everything is done, or until it is killed."""
    others = asyncio.all_tasks()
    stop, mortal, registry = asyncio.Event(), MortalBus(bus, killer), CollectorRegistry()
    metrics, loop_metrics = Metrics(registry), BusMetrics(registry)
    directory = Directory(mortal, metrics)  # type: ignore[arg-type]  # delegates what it does not count
    await directory.load()
    pipeline = Pipeline(Doorkeeper(directory.subscribers, directory.silences), ttl_ms=3_600_000)
    loop = asyncio.get_running_loop()
    work: list[Awaitable[None]] = []

    workers = {"workers": random.choice([1, 4])}
    settings = AlertingSection.model_validate(dict.fromkeys(ALL_CHANNELS, workers))
    gates = Gates(mortal, settings, metrics, clock_ms=clock_ms)  # type: ignore[arg-type]
    senders: dict[str, Sender] = {}

    def hand_over(due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        senders[due.channel].begin(due, opened, seq)

    for durable in (ALERTING_SIGNALS, ALERTING_TRADES):
        intake = Intake(mortal, durable, directory.rules, pipeline, metrics, hand_over, clock_ms=clock_ms)  # type: ignore[arg-type]
        consumer = mortal.consumer(durable)
        await consumer.reset(await intake.start())
        looping = consume.Loop(mortal, consumer, "alerting", stop, loop_metrics.loop(durable.name))  # type: ignore[arg-type]
        work.append(consume.consume_in_order(looping, intake.handle, batch=random.choice([1, 3, 500])))
    for name in ALL_CHANNELS:
        channel = SimulatedChannel(receivers, killer, dedupes=CHANNELS[name]) if name in CHANNELS else None
        senders[name] = Sender(
            mortal,  # type: ignore[arg-type]
            name,
            channel,
            directory,
            metrics,
            gates,
            ttl_s=3600,
            max_attempts=6,
            random=random,
            clock_ms=clock_ms,
        )
    for (name, _), durable in ALERTING_SEND.items():
        consumer = mortal.consumer(durable)
        looping = consume.Loop(mortal, consumer, "alerting", stop, loop_metrics.loop(durable.name))  # type: ignore[arg-type]
        work.append(consume.consume_queue(looping, senders[name].handle, workers=4))
    lease = Lease(bus.bucket(LEASES), LEASE_KEY, b"the only one", clock=loop.time)
    work.append(Keeper(mortal, lease, metrics, clock_ms=clock_ms).run(stop))  # type: ignore[arg-type]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in (*work, killer.killed.wait(), until_idle(bus, feed))]
    await asyncio.wait(tasks[-2:], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    while left := asyncio.all_tasks() - others:  # again and again: `wait_for` can swallow a cancellation
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1.0)


async def until_idle(bus: MemoryBus, feed: asyncio.Task[None]) -> None:
    """No more input, all of it acknowledged, no delivery waiting, and no line of a digest."""
    await asyncio.wait([feed])
    while True:
        states = [await bus.durable_state(durable) for durable in (ALERTING_SIGNALS, ALERTING_TRADES)]
        waiting = (await bus.stream_state(SEND)).messages
        if not waiting and not any(state.pending or state.ack_pending for state in states) and not await aside(bus):
            return
        await asyncio.sleep(5.0)


async def aside(bus: MemoryBus) -> bool:
    """Whether anything waits for a digest."""
    lines = await bus.page(DIGESTS, "digests.line.>")
    last = [await bus.last(DELIVERIES, delivery(*line.subject.split(".")[2::2])) for line in lines]
    return any(b'"digested"' not in message.data for message in last if message)


async def feed_slowly(bus: MemoryBus, inputs: Sequence[Event], random: Random) -> None:
    for event in inputs:
        await asyncio.sleep(random.choice([0.0, 0.0, 1.0, 20.0]))
        await bus.publish([event])


async def stored(bus: MemoryBus, stream: Stream) -> list[Any]:
    state = await bus.stream_state(stream)
    return [message.event() for message in await bus.reader(stream, after=0).through(state.last_seq)]


async def simulate(seed: int, *, changing: bool = False) -> None:
    """`changing`: between lives people silence everything, and take it back."""
    random = Random(seed)
    bus = MemoryBus(clock_ms)
    rules, subscribers = documents()
    for rule in rules:
        await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
    for subscriber in subscribers:
        await bus.bucket(SUBSCRIBERS).put(subscriber.subscriber_id, encode(subscriber))
    signals = random.randrange(1, 8)
    prices = [random.choice([99.0, 101.0, 110.0]) for _ in range(random.randrange(2, 10))]
    inputs = [minute(number) for number in range(signals)] + [trade(n, price) for n, price in enumerate(prices)]
    feed = asyncio.create_task(feed_slowly(bus, inputs, random))
    expected = rings_of_signals(signals) | rings_of_prices(prices)
    receivers = Receivers(random, fault_rate=random.choice([0.0, 0.2, 0.6]))
    deaths, outage_rate = random.randrange(0, 6), random.choice([0.0, 0.05])
    for number in range(deaths + 1):
        left = random.randrange(1, random.choice([60, 400])) if number < deaths else None
        await life(bus, receivers, random, Killer(left, random, outage_rate), feed)
        if random.random() < 0.5:
            forget_ids(bus)
        if random.random() < 0.5:  # snapshots are not synced: a crash of the server may take one
            await bus.bucket(SNAPSHOTS).delete(SNAPSHOT_KEY)
        if changing:
            await bus.bucket(SILENCES).put("all", encode(silence(over=random.random() < 0.5)))
        for durable in ALERTING_SEND.values():
            await asyncio.sleep(random.choice([0.0, 40.0]))
            await bus.consumer(durable).reset()
    if changing:
        await check_consistent(bus, expected)
    else:
        await check_decisions(bus, expected)
    await check_ledger(bus, receivers)


def silence(*, over: bool) -> Silence:
    return Silence(silence_id="all", starts_ms=0, ends_ms=0 if over else 10**9, author="ann")


def rings_of_signals(count: int) -> Rings:
    """`calm` rings for every third signal, as 150 s of market time lie between its alerts; the others for each."""
    told = {(rule, (n + 1) * 60_000): None for n in range(count) for rule in ("all", "brief", "hours", "soon", "stale")}
    return told | {("calm", (n + 1) * 60_000): "cooldown" if n % 3 else None for n in range(count)}


def rings_of_prices(prices: Sequence[float]) -> Rings:
    """`price` rings at each crossing, `seldom` at those 2 s of market time after its last alert, `sticky` at those
    before which the price was 5 % away since its last one."""
    found: Rings = {}
    last, away = -2_000, True
    for n, (before, after) in enumerate(pairwise(prices), start=1):
        ts_ms = n * TRADE_EVERY_MS
        if (before < 100) != (after < 100):
            enough = ts_ms - last >= 2_000
            last = ts_ms if enough else last
            found |= {("price", ts_ms): None, ("seldom", ts_ms): None if enough else "too_often"}
            if away:
                found["sticky", ts_ms] = None
            away = False
        away = away or after > 105
    return found


async def check_decisions(bus: MemoryBus, expected: Rings) -> None:
    """Every match was decided once, and as if nothing had ever been killed."""
    events = await stored(bus, ALERTS)
    decided = [((event.rule_id, event.ts_ms), None) for event in events if isinstance(event, AlertRaised)]
    suppressed = [event for event in events if isinstance(event, AlertSuppressed)]
    decided += [((event.rule_id, event.ts_ms), event.reason) for event in suppressed if event.subscriber_id is None]
    assert len(decided) == len(expected)
    assert dict(decided) == expected
    unknown = [event.reason for event in suppressed if event.subscriber_id == "nobody"]
    assert unknown == ["unknown_subscriber"] * sum(rule == "all" for rule, _ in expected)


async def check_consistent(bus: MemoryBus, expected: Rings) -> None:
    """Every match was decided once, one way or the other; what armed a rule again depends on that."""
    events = await stored(bus, ALERTS)
    decisions = [event for event in events if isinstance(event, AlertRaised) or event.subscriber_id is None]
    assert len({event.alert_id for event in decisions}) == len(decisions)
    decided = Counter(event.rule_id for event in decisions if event.rule_id != "sticky")
    assert decided == Counter(rule for rule, _ in expected if rule != "sticky")


async def check_ledger(bus: MemoryBus, receivers: Receivers) -> None:
    """Everybody told has all of their deliveries and nobody else has any; the ledger is complete and unambiguous, and
    agrees with what the receivers got."""
    raised = [event for event in await stored(bus, ALERTS) if isinstance(event, AlertRaised)]
    deliveries = sum(DELIVERIES_OF[alert.rule_id, name] for alert in raised for name in alert.subscribers)
    ledger: dict[str, list[DeliveryChanged]] = {}
    for change in await stored(bus, DELIVERIES):
        ledger.setdefault(change.delivery_id, []).append(change)
    digests = await check_digests(bus, receivers, {one: changes[-1] for one, changes in ledger.items()})
    assert len(ledger) == deliveries + digests
    assert set(receivers.accepted) <= set(ledger)
    for delivery_id, changes in ledger.items():
        states = [change.state for change in changes]
        assert states[0] in ("queued", "aside")
        assert [state in TERMINAL_STATES for state in states] == [False] * (len(states) - 1) + [True]
        assert states.count("attempting") == max(change.attempt for change in changes)
        accepted, last = receivers.accepted[delivery_id], changes[-1]
        if last.state == "sent":
            assert accepted >= 1
        if last.state == "digested":
            assert accepted == 0
        if last.channel == "telegram":  # its subscribers would rather miss one than get it twice
            assert accepted <= 1
            assert accepted == 0 or last.state in ("sent", "unknown")
        if last.channel == "email" and last.state != "digested":
            assert (last.state, last.reason) == ("failed", "channel_not_configured")
        if last.channel == "discord" and last.state == "failed":
            assert last.reason in ("refused", "server_error", "connection_lost", "timeout")


async def check_digests(bus: MemoryBus, receivers: Receivers, ends: dict[str, DeliveryChanged]) -> int:
    """Every line is told by one digest that has ended, and that one says how many it tells. How many there are."""
    facts = [(message.seq, message.event()) for message in await bus.page(DIGESTS, "digests.>")]
    lines = {event.delivery_id: (seq, event) for seq, event in facts if isinstance(event, DigestLine)}
    ended = {event.delivery_id: event for _, event in facts if isinstance(event, DigestEnded)}
    assert len(facts) == len(lines) + len(ended)
    assert set(lines) == {one for one, end in ends.items() if end.state == "digested"}
    told: Counter[str] = Counter()
    for delivery_id, (seq, line) in lines.items():
        digest = ended[ends[delivery_id].provider_ref]
        assert (digest.subscriber_id, digest.channel, digest.box) == (line.subscriber_id, line.channel, line.box)
        assert digest.first_seq <= seq <= digest.through_seq
        told[digest.delivery_id] += 1
    assert set(told) == set(ended)
    for delivery_id in receivers.said.keys() & ended.keys():
        if ends[delivery_id].state != "unknown" and told[delivery_id] > 1:
            [title] = receivers.said[delivery_id]
            assert title.startswith(f"{told[delivery_id]} ")
    return len(ended)


def forget_ids(bus: MemoryBus) -> None:
    """The server's duplicate window is over."""
    for log in bus._logs.values():
        log.ids.clear()


@pytest.mark.parametrize("seed", SEEDS)
def test_crashes_at_any_point_lose_nothing_and_repeat_nothing(seed: int) -> None:
    run(simulate(seed))


@pytest.mark.parametrize("seed", CHANGING_SEEDS)
def test_what_was_decided_stands_whatever_people_change_between_crashes(seed: int) -> None:
    run(simulate(seed, changing=True))
