"""A life of a replica keeps its partitions, however long a round takes."""

from __future__ import annotations

import asyncio
import time

from signal_engine.partitions.replica import Life
from signal_engine.partitions.shared import SIGNAL_ENGINE
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import ALL

TTL_S = 3
BUSY_S = 1.0
"""Of every evaluation, in which nothing else runs: renewals that only begin between two of them come too late."""


async def test_whoever_takes_a_breath_between_evaluations_keeps_the_leases(jetstream_bus: JetStreamBus) -> None:
    stop = asyncio.Event()
    ownership = Ownership(jetstream_bus, SIGNAL_ENGINE, ALL, lambda: None, ttl_s=TTL_S, look_s=0.05)
    running = asyncio.create_task(ownership.run(stop))
    async with asyncio.timeout(10):
        while len(ownership.tokens) < len(ALL):  # noqa: ASYNC110 - what changes is on a server
            await asyncio.sleep(0.01)
    life = Life(ownership, ownership.tokens)
    ends_s = time.monotonic() + 2 * TTL_S
    while time.monotonic() < ends_s:
        time.sleep(BUSY_S)  # noqa: ASYNC251
        await life.breathe()
        assert life.partitions == frozenset(life.tokens)
    stop.set()
    await running
