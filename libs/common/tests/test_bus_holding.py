"""Of replicas one works, for as long as it holds the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.virtual_time import run

from tocsin_common.bus.holding import holder_name, while_held
from tocsin_common.bus.leases import TTL_S, Lease
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.streams import LEASES


class Replica:
    """Notes what it does; it needs three seconds to finish what is in hand."""

    def __init__(self, bus: MemoryBus) -> None:
        self.stop = asyncio.Event()
        self.notes: list[str] = []
        lease = Lease(bus.bucket(LEASES), "job", holder_name(), clock=asyncio.get_running_loop().time)
        self.running = asyncio.create_task(while_held(lease, self._work, self.stop))

    async def _work(self, stop: asyncio.Event) -> None:
        self.notes.append("began")
        try:
            await stop.wait()
            await asyncio.sleep(3)
            self.notes.append("finished")
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise


def simulated(simulation: Callable[[MemoryBus], Awaitable[None]]) -> None:
    async def in_virtual_time() -> None:
        await simulation(MemoryBus())

    run(in_virtual_time())


def test_the_next_one_begins_when_the_first_has_finished_what_was_in_hand() -> None:
    async def simulation(bus: MemoryBus) -> None:
        first, second = Replica(bus), Replica(bus)
        await asyncio.sleep(5 * TTL_S)
        assert (first.notes, second.notes) == (["began"], [])
        first.stop.set()
        await asyncio.sleep(2.5)
        assert second.notes == []
        await asyncio.sleep(TTL_S)
        assert (first.notes, second.notes) == (["began", "finished"], ["began"])
        second.stop.set()
        await asyncio.gather(first.running, second.running)

    simulated(simulation)


def test_work_is_given_up_when_the_lease_is_lost_and_begun_anew_when_it_is_there_again() -> None:
    async def simulation(bus: MemoryBus) -> None:
        replica = Replica(bus)
        await asyncio.sleep(1)
        await bus.bucket(LEASES).put("job", b"somebody else")
        await asyncio.sleep(TTL_S)
        assert replica.notes == ["began", "cancelled"]
        await bus.bucket(LEASES).delete("job")
        await asyncio.sleep(TTL_S)
        replica.stop.set()
        await replica.running
        assert replica.notes == ["began", "cancelled", "began", "finished"]

    simulated(simulation)


def test_a_mistake_of_the_work_is_not_hidden() -> None:
    async def simulation(bus: MemoryBus) -> None:
        async def mistaken(_stop: asyncio.Event) -> None:
            raise ZeroDivisionError

        lease = Lease(bus.bucket(LEASES), "job", holder_name())
        with pytest.raises(ZeroDivisionError):
            await while_held(lease, mistaken, asyncio.Event())

    simulated(simulation)
