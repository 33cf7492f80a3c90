"""Leases: one holder at a time, replaced when it is gone. Every bus passes, and a server that crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.embedded import NatsServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.config import NatsSection
from tocsin_common.errors import Conflict
from tocsin_common.streams import LEASES


def lease(bus: Bus, owner: str, **options: Any) -> Lease:
    return Lease(bus.bucket(LEASES), "job", owner.encode(), **options)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_entry_with_a_lifetime_is_gone_afterwards_and_can_be_created_again(bus: Bus, given: Any) -> None:
    bucket = bus.bucket(LEASES)
    first = await bucket.create("a", b"1", ttl_s=1)
    assert await bucket.get("a") == Entry("a", b"1", first)

    async def gone() -> bool:
        return await bucket.get("a") is None and "a" not in await bucket.all()

    await given.eventually(gone)
    with pytest.raises(Conflict):
        await bucket.update("a", b"2", first)
    assert await bucket.create("a", b"2", ttl_s=1) > first


async def test_an_update_with_a_lifetime_begins_it_anew(bus: Bus, given: Any) -> None:
    bucket = bus.bucket(LEASES)
    started_s = time.monotonic()
    revision = await bucket.create("a", b"1", ttl_s=1)
    await bucket.create("other", b"1", ttl_s=1)

    async def others_is_gone() -> bool:
        nonlocal revision
        revision = await bucket.update("a", b"1", revision, ttl_s=1)
        return await bucket.get("other") is None

    await given.eventually(others_is_gone)
    assert time.monotonic() - started_s >= 1
    assert await bucket.get("a") == Entry("a", b"1", revision)


async def test_a_delete_may_name_the_revision_it_means(bus: Bus) -> None:
    bucket = bus.bucket(LEASES)
    first = await bucket.put("a", b"1")
    second = await bucket.put("a", b"2")
    with pytest.raises(Conflict):
        await bucket.delete("a", revision=first)
    assert await bucket.get("a") == Entry("a", b"2", second)
    await bucket.delete("a", revision=second)
    assert await bucket.get("a") is None


async def test_only_one_holds_a_lease(bus: Bus) -> None:
    owners = [lease(bus, f"owner {n}") for n in range(8)]
    took = await asyncio.gather(*(owner.acquire() for owner in owners))
    assert took.count(True) == 1
    assert [owner.held for owner in owners] == took


async def test_a_released_lease_is_the_next_ones_at_once_with_a_greater_token(bus: Bus) -> None:
    ours, theirs = lease(bus, "ours"), lease(bus, "theirs")
    assert await ours.acquire()
    assert await ours.renew()
    assert not await theirs.acquire()
    await ours.release()
    assert not ours.held
    assert await theirs.acquire()
    assert theirs.token > ours.token


async def test_a_lease_that_is_not_renewed_passes_to_another(bus: Bus, given: Any) -> None:
    ours, theirs = lease(bus, "ours", ttl_s=1), lease(bus, "theirs")
    assert await ours.acquire()

    async def passed() -> bool:
        held = ours.held
        taken = await theirs.acquire()
        assert not (taken and held), "two holders at once"
        return taken

    await given.eventually(passed)
    assert not await ours.renew()
    await ours.release()
    assert theirs.held
    assert await theirs.renew()


async def test_a_renewed_lease_stays(bus: Bus, given: Any) -> None:
    ours, theirs = lease(bus, "ours", ttl_s=1), lease(bus, "theirs")
    assert await ours.acquire()
    started_s = time.monotonic()

    async def far_past_its_first_end() -> bool:
        assert await ours.renew()
        assert not await theirs.acquire()
        return time.monotonic() - started_s > 1.5

    await given.eventually(far_past_its_first_end)


async def test_a_holder_stops_before_the_server_does_without_asking_it(bus: Bus) -> None:
    clock = Clock()
    ours = lease(bus, "ours", clock=clock)
    assert await ours.acquire()
    clock.now_s = 5.3
    assert ours.held
    clock.now_s = 5.5
    assert not ours.held


async def test_a_renewal_whose_receipt_was_lost_is_no_loss(bus: Bus) -> None:
    ours = lease(bus, "ours")
    assert await ours.acquire()
    entry = await bus.bucket(LEASES).get("job")
    assert entry is not None
    await bus.bucket(LEASES).update("job", b"ours", entry.revision, ttl_s=6)
    assert await ours.renew()
    assert await ours.renew()


async def test_a_lease_can_be_released_when_its_renewal_was_cut_short(bus: Bus) -> None:
    ours, theirs = lease(bus, "ours"), lease(bus, "theirs")
    assert await ours.acquire()
    entry = await bus.bucket(LEASES).get("job")
    assert entry is not None
    await bus.bucket(LEASES).update("job", b"ours", entry.revision, ttl_s=6)
    await ours.release()
    assert await theirs.acquire()


async def test_a_lease_taken_by_another_is_noticed_at_the_next_renewal(bus: Bus) -> None:
    ours = lease(bus, "ours")
    assert await ours.acquire()
    await bus.bucket(LEASES).put("job", b"theirs")
    assert not await ours.renew()
    assert not ours.held


async def test_the_lease_of_a_holder_known_to_be_dead_can_be_taken_at_once(bus: Bus) -> None:
    dead, alive, ours = lease(bus, "dead"), lease(bus, "alive"), lease(bus, "ours")
    assert await dead.acquire()
    entry = await bus.bucket(LEASES).get("job")
    assert entry is not None
    assert not await alive.acquire(instead_of=entry.revision - 1)
    assert await ours.acquire(instead_of=entry.revision)
    assert not await dead.renew()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def test_a_lease_survives_a_crash_of_the_server_and_never_has_two_holders(server: NatsServer, given: Any) -> None:
    section = NatsSection(url=server.url)
    first, second = [JetStreamBus(await Connection.open(section, name=name)) for name in ("first", "second")]
    await provision.apply(first.connection, provision.declared())
    ours, theirs = lease(first, "ours"), lease(second, "theirs")
    assert await ours.acquire()
    await server.kill()
    restart = asyncio.create_task(server.start())
    assert await ours.renew()
    assert not await theirs.acquire()
    await restart
    assert ours.held
    await server.kill()

    async def noticed() -> bool:
        return not ours.held

    renewing = asyncio.create_task(ours.renew())
    await given.eventually(noticed, 10)
    assert not await renewing
    await server.start()

    async def taken() -> bool:
        return await theirs.acquire()

    await given.eventually(taken, 10)
    assert not await ours.renew()
    await first.close()
    await second.close()
