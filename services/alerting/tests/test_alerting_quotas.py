"""A subscriber is told so many alerts a day and no more; others are stated as spared, and it is said once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.alerts import CONFIRMED_MS, a_signal

from alerting.config import QuotasSection
from alerting.directory import Directory
from alerting.judging.audience import Doorkeeper
from alerting.judging.counting import Counting
from alerting.judging.limits import Rung
from alerting.judging.quotas import Quotas
from alerting.judging.silences import Silences
from alerting.matching.causes import Match
from alerting.metrics import Metrics
from alerting.pipeline import Outbox, Pipeline
from alerting.sending.opener import Opener
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, Quota, SignalRule, Subscriber
from tocsin_common.events import AlertRaised, AlertSuppressed, SendDue
from tocsin_common.streams import ALERTS, DELIVERIES, SEND

HOUR_MS = 3_600_000
BELL = Destination(channel="console", address="x")
ANN = Subscriber(subscriber_id="ann", name="Ann", destinations=[BELL], language="id", zone="Asia/Jakarta")
BOB = Subscriber(subscriber_id="bob", name="Bob", destinations=[BELL], quota=Quota(alerts_per_day=0))
RULE = SignalRule(rule_id="all", name="All", subscribers=["ann", "bob"])


class Life:
    """One life of alerting, with a quota of two a day."""

    def __init__(self, bus: MemoryBus, *subscribers: Subscriber) -> None:
        self.bus, self.seq = bus, 0
        metrics = Metrics(CollectorRegistry())
        directory = Directory(bus, metrics)
        directory.subscribers.update({one.subscriber_id: one for one in subscribers or (ANN, BOB)})
        self.quotas = Quotas(directory.subscribers, QuotasSection(alerts_per_day=2))
        self.pipeline = Pipeline(Doorkeeper(directory.subscribers, directory.silences, self.quotas), ttl_ms=60_000)
        opener = Opener(bus, directory, metrics, ttl_s=60, clock_ms=lambda: CONFIRMED_MS)
        self.counting = Counting(bus, self.quotas, opener)

    async def catch_up(self) -> None:
        """Read ALERTS as far as it goes, and tell."""
        for message in await self.bus.page(ALERTS, "alerts.>", after=self.seq):
            self.counting.take(message)
            self.seq = message.seq
        await self.counting.tell()

    def decide(self, *hours: int) -> Outbox:
        """A signal at each of these hours, in one batch."""
        signals = [a_signal(CONFIRMED_MS + hour * HOUR_MS) for hour in hours]
        matches = [Match.of(RULE, 1, signal, CONFIRMED_MS) for signal in signals]
        return self.pipeline.run(matches, Rung(), {}, now_ms=CONFIRMED_MS)

    async def happens(self, *hours: int) -> Outbox:
        outbox = self.decide(*hours)
        await self.bus.publish(outbox.events())
        return outbox


def told(outbox: Outbox, name: str) -> int:
    return sum(name in one.subscribers for one in outbox.alerts if isinstance(one, AlertRaised))


def spared(outbox: Outbox) -> Sequence[tuple[str | None, str]]:
    return [(one.subscriber_id, one.reason) for one in outbox.alerts if isinstance(one, AlertSuppressed)]


async def notices(bus: MemoryBus) -> list[SendDue]:
    found = [message.event() for message in await bus.page(SEND, "send.>")]
    return [event for event in found if isinstance(event, SendDue) and event.kind == "notice"]


async def test_what_is_over_a_days_quota_is_spared_and_the_next_day_is_another(memory_bus: MemoryBus) -> None:
    outbox = await Life(memory_bus).happens(0, 1, 2, 3)
    assert (told(outbox, "ann"), told(outbox, "bob")) == (2, 4)
    assert spared(outbox) == [("ann", "quota")] * 2
    # it is 8:00 in Jakarta: the next day begins in 16 hours
    assert spared(await Life(memory_bus).happens(16, 17)) == []


async def test_a_day_goes_by_the_clock_on_the_subscribers_wall(memory_bus: MemoryBus) -> None:
    assert told(await Life(memory_bus).happens(14, 15, 16, 17), "ann") == 4
    london = replace(ANN, zone="Europe/London")
    assert told(await Life(memory_bus, london).happens(14, 15, 16, 17), "ann") == 2


async def test_who_takes_over_knows_what_was_told(memory_bus: MemoryBus) -> None:
    await Life(memory_bus).happens(0, 1)
    successor = Life(memory_bus)
    await successor.catch_up()
    assert spared(await successor.happens(2)) == [("ann", "quota")]


async def test_a_batch_that_comes_again_is_counted_once(memory_bus: MemoryBus) -> None:
    life = Life(memory_bus)
    life.decide(0)  # it could not be published
    await life.happens(0)
    await life.catch_up()
    assert told(await life.happens(1), "ann") == 1
    await life.catch_up()
    assert spared(await life.happens(2)) == [("ann", "quota")]


async def test_it_is_said_once_that_the_quota_is_reached(memory_bus: MemoryBus) -> None:
    for hours in ((0, 1, 2, 3), (4,)):
        life = Life(memory_bus)
        await life.catch_up()
        await life.happens(*hours)
        await life.catch_up()
        await life.counting.tell()
        for stream in (ALERTS, DELIVERIES, SEND):
            memory_bus._log(stream).ids.clear()  # the server's duplicate window is over
    [notice] = await notices(memory_bus)
    assert (notice.subscriber_id, notice.title) == ("ann", "Kuota tercapai sampai 2024-08-10 00:00 WIB")
    assert notice.text.startswith("Hari ini Anda sudah menerima 2 peringatan")
    next_day = Life(memory_bus)
    await next_day.catch_up()
    assert told(await next_day.happens(16, 17, 18), "ann") == 2
    await next_day.catch_up()
    assert len(await notices(memory_bus)) == 2


async def test_who_is_muted_is_told_of_it_while_it_matters(memory_bus: MemoryBus) -> None:
    await Life(memory_bus).happens(0, 1, 2)
    muted = Life(memory_bus, replace(ANN, muted_until_ms=CONFIRMED_MS + 1))
    await muted.catch_up()
    assert await notices(memory_bus) == []
    muted.counting._subscribers["ann"] = ANN  # type: ignore[index]
    await muted.counting.tell()
    assert len(await notices(memory_bus)) == 1


async def test_it_follows_the_stream_until_it_is_stopped(memory_bus: MemoryBus) -> None:
    await Life(memory_bus).happens(0, 1, 2)
    sends = memory_bus.follow(SEND, "send.>", after=(await memory_bus.stream_state(SEND)).last_seq)
    successor, stop = Life(memory_bus), asyncio.Event()
    following = asyncio.create_task(successor.counting.watch(stop))
    [message] = await sends.fetch(1, 5.0)
    stop.set()
    await following
    assert isinstance(notice := message.event(), SendDue)
    assert notice.kind == "notice"
    assert spared(successor.decide(3)) == [("ann", "quota")]


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), max_size=6), st.integers(1, 4))
def test_nobody_is_told_more_in_a_day_than_they_may_be(batches: list[list[int]], most: int) -> None:
    subscribers = {"ann": ANN}
    quotas = Quotas(subscribers, QuotasSection(alerts_per_day=most))
    pipeline = Pipeline(Doorkeeper(subscribers, Silences(), quotas), ttl_ms=1)
    rule = replace(RULE, subscribers=["ann"])
    days: dict[int, set[str]] = {}
    for batch in batches:
        signals = {hour: a_signal(CONFIRMED_MS + hour * HOUR_MS) for hour in batch}
        matches = [Match.of(rule, 1, signal, 0) for signal in signals.values()]
        for alert in pipeline.run(matches, Rung(), {}, now_ms=0).alerts:
            if isinstance(alert, AlertRaised):
                days.setdefault((alert.ts_ms + 7 * HOUR_MS) // (24 * HOUR_MS), set()).add(alert.alert_id)
    assert all(len(alerts) <= most for alerts in days.values())
