"""A change whose writer was killed before it was stated is stated all the same, once, and as the writer's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.managed import ANN, NOW_MS, OPERATOR, Managed, usual_quotas

from alerting.kinds import RULE, SUBSCRIBER
from alerting.management.core import Management
from alerting.management.stating import SETTLED_MS, Stating
from alerting.metrics import Metrics
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.changes import Became
from tocsin_common.documents import Destination, PriceRule, Subscriber, encode
from tocsin_common.events import DestinationChanged, DocumentChanged, Event
from tocsin_common.streams import ALERT_RULES, MANAGEMENT, SNAPSHOTS, SUBSCRIBERS

LEVEL = PriceRule(rule_id="ann:high", name="High", subscribers=[], exchange="binance", symbol="BTC/USDT", level=1e5)


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


class Mortal:
    """A bus for one life, which ends when something is to be stated."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.bucket = bus.bucket

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        raise Killed


async def killed_writer(bus: Bus) -> Management:
    """Management whose process dies between the document and the event."""
    managed = await Managed.on(bus)
    quotas = usual_quotas(managed.directory)
    return Management(Mortal(bus), managed.directory, Metrics(CollectorRegistry()), quotas, clock_ms=lambda: NOW_MS)  # type: ignore[arg-type]


class Life:
    """One life of what states, long after the writers."""

    def __init__(self, bus: Bus, *, later_ms: int = 2 * SETTLED_MS) -> None:
        self.registry = CollectorRegistry()
        self._bus, self._later_ms = bus, later_ms

    async def look(self, *, stopped: bool = False) -> float | None:
        """Look, until told to stop; how many changes of rules were stated late in this life."""
        stop = asyncio.Event()
        if stopped:
            stop.set()
        written = [
            entry for bucket in (ALERT_RULES, SUBSCRIBERS) for entry in await self._bus.bucket(bucket).history(after=0)
        ]
        newest = max((entry.stored_ms for entry in written), default=0)
        stating = Stating(self._bus, Metrics(self.registry), clock_ms=lambda: newest + self._later_ms)
        await stating.look(stop)
        await stating.look(stop)
        return self.registry.get_sample_value("alerting_changes_stated_late_total", {"kind": "rule"})


async def stated(bus: Bus) -> list[tuple[str, str, str | None, str, int]]:
    last = (await bus.stream_state(MANAGEMENT)).last_seq
    events = [message.event() for message in await bus.reader(MANAGEMENT, after=0).through(last)]
    return [(one.action, one.id, one.actor, one.via, one.at_ms) for one in events if isinstance(one, DocumentChanged)]


WRITTEN = ("written", "ann:high", "ann", "test", NOW_MS)
DELETED = ("deleted", "ann:high", None, "test", NOW_MS)


async def dies_twice_and_lives_once(bus: Bus) -> None:
    """A writing and a deletion whose writers are killed; a writing between them that is stated."""
    with pytest.raises(Killed):
        await (await killed_writer(bus)).put(ANN, RULE, LEVEL, 0)
    management = (await Managed.on(bus)).management
    first = await management.get(ANN, RULE, "ann:high")
    second = await management.put(ANN, RULE, LEVEL, first.revision)
    with pytest.raises(Killed):
        await (await killed_writer(bus)).delete(OPERATOR, RULE, "ann:high", second.revision)


async def test_what_a_killed_writer_did_is_stated_on_the_next_start(memory_bus: MemoryBus) -> None:
    await dies_twice_and_lives_once(memory_bus)
    assert await stated(memory_bus) == [WRITTEN]
    assert await Life(memory_bus).look() == 2
    assert sorted(await stated(memory_bus)) == [DELETED, WRITTEN, WRITTEN]
    revisions = [entry.revision for entry in await memory_bus.bucket(ALERT_RULES).history(after=0)]
    assert len(revisions) == 3


async def test_who_is_told_to_stop_leaves_the_rest_to_the_next_life(memory_bus: MemoryBus) -> None:
    await dies_twice_and_lives_once(memory_bus)
    assert await Life(memory_bus).look(stopped=True) is None
    assert await Life(memory_bus).look() == 2


async def test_on_a_server_too(jetstream_bus: JetStreamBus) -> None:
    await dies_twice_and_lives_once(jetstream_bus)
    assert await Life(jetstream_bus).look() == 2
    assert sorted(await stated(jetstream_bus)) == [DELETED, WRITTEN, WRITTEN]


async def test_what_became_of_a_destination_is_stated_with_the_change(memory_bus: MemoryBus) -> None:
    mail = Destination(channel="email", address="ann@example.org", verified=False)
    ann = Subscriber(subscriber_id="ann", name="Ann", destinations=[mail])
    written = await (await Managed.on(memory_bus)).management.put(OPERATOR, SUBSCRIBER, ann, 0)
    became = Became(channel="email", place=0, state="confirmed", via="code")
    verified = replace(ann, destinations=[replace(mail, verified=True)])
    with pytest.raises(Killed):
        await (await killed_writer(memory_bus)).put(OPERATOR, SUBSCRIBER, verified, written.revision, became=became)
    await Life(memory_bus).look()
    [message] = await memory_bus.page(MANAGEMENT, "management.destination.ann")
    confirmed = message.event()
    assert isinstance(confirmed, DestinationChanged)
    assert (confirmed.state, confirmed.via, confirmed.at_ms) == ("confirmed", "code", NOW_MS)
    assert len(await stated(memory_bus)) == 2


@pytest.mark.parametrize("forgotten", [False, True])
async def test_nothing_is_stated_twice_however_often_it_is_looked_at(memory_bus: MemoryBus, forgotten: bool) -> None:
    await dies_twice_and_lives_once(memory_bus)
    for _ in range(3):
        await Life(memory_bus).look()
        memory_bus._log(MANAGEMENT).ids.clear()  # the server's duplicate window is over
        if forgotten:
            await memory_bus.bucket(SNAPSHOTS).delete("alerting-stated")
    assert len(await stated(memory_bus)) == 3


async def test_a_writer_that_may_be_alive_is_left_to_state_it(memory_bus: MemoryBus) -> None:
    with pytest.raises(Killed):
        await (await killed_writer(memory_bus)).put(ANN, RULE, LEVEL, 0)
    assert await Life(memory_bus, later_ms=SETTLED_MS - 1).look() is None
    assert await stated(memory_bus) == []
    assert await Life(memory_bus).look() == 1


async def test_who_writes_past_the_doors_is_stated_as_somebody_elsewhere(memory_bus: MemoryBus) -> None:
    bucket = memory_bus.bucket(ALERT_RULES)
    await bucket.put("ann_high", encode(LEVEL))
    await bucket.put("not a key of ours", b"{}")
    stored_ms = [entry.stored_ms for entry in await bucket.history(after=0)]
    await Life(memory_bus).look()
    assert await stated(memory_bus) == [("written", "ann:high", None, "elsewhere", stored_ms[0])]


async def test_a_bucket_that_was_made_anew_is_looked_through_from_its_beginning(memory_bus: MemoryBus) -> None:
    await memory_bus.bucket(SNAPSHOTS).put("alerting-stated", b'{"through":{"alert_rules":900}}')
    await dies_twice_and_lives_once(memory_bus)
    assert await Life(memory_bus).look() == 2
