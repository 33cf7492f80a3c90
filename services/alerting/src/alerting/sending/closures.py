"""Receivers that told us when to come back: none of the replicas asks them before.

The bucket `closures` holds until when, and is followed: it costs who sends no look. A replica knows what another one
was told some milliseconds later. Entries end by themselves.
"""

from __future__ import annotations

import asyncio
import math

import msgspec
import structlog

from alerting.metrics import Metrics
from alerting.sending.clock import ClockMs
from tocsin_common.bus.protocol import Entry, KeyValue
from tocsin_common.decoding import decode
from tocsin_common.errors import Conflict, Malformed, Unreachable

log = structlog.get_logger()

LONGEST_S = 24 * 3600.0
"""Who asks for more is asked again after this."""

TRIES = 3
"""So often another replica may be faster. What it wrote is as good: it was told at the same time."""

KNOWN_MAX = 10_000
"""Receivers remembered before those are forgotten that are open again."""


class Closures:
    """What is known here, by the keys of receivers (`rates.Scope`): times by `clock_ms`."""

    def __init__(self, bucket: KeyValue, metrics: Metrics, clock_ms: ClockMs) -> None:
        self._bucket = bucket
        self._now_ms = clock_ms
        self._until_ms: dict[str, int] = {}
        metrics.receivers_closed.set_function(self._count)

    def until_ms(self, key: str) -> int:
        """Until when a receiver is not to be asked; a moment that has passed: it may be."""
        return self._until_ms.get(key, 0)

    async def close(self, key: str, seconds: float) -> None:
        """Let nobody ask a receiver for so long. Where the bucket cannot be reached, only this replica knows."""
        seconds = min(seconds, LONGEST_S)
        until_ms = self._now_ms() + math.ceil(seconds * 1000)
        if until_ms <= self.until_ms(key):
            return
        self._note(key, until_ms)
        try:
            await self._share(key, until_ms, ttl_s=math.ceil(seconds) + 1)
        except Unreachable as error:
            log.warning("the other replicas are not told who is to be left alone", error=str(error))

    async def follow(self, stop: asyncio.Event) -> None:
        """Learn what other replicas were told, until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow())
            await stop.wait()
            following.cancel()

    async def _follow(self) -> None:
        async for entry in self._bucket.watch():
            self._note(entry.key, _until_ms(entry))

    async def _share(self, key: str, until_ms: int, *, ttl_s: int) -> None:
        value = msgspec.json.encode(until_ms)
        for _ in range(TRIES):
            found = await self._bucket.get(key)
            if found is not None and _until_ms(found) >= until_ms:
                return
            try:
                if found is None:
                    await self._bucket.create(key, value, ttl_s=ttl_s)
                else:
                    await self._bucket.update(key, value, found.revision, ttl_s=ttl_s)
                return
            except Conflict:
                continue

    def _note(self, key: str, until_ms: int) -> None:
        if len(self._until_ms) >= KNOWN_MAX:
            now_ms = self._now_ms()
            self._until_ms = {known: ms for known, ms in self._until_ms.items() if ms > now_ms}
        self._until_ms[key] = max(until_ms, self.until_ms(key))

    def _count(self) -> int:
        now_ms = self._now_ms()
        return sum(until_ms > now_ms for until_ms in self._until_ms.values())


def _until_ms(entry: Entry) -> int:
    """What an entry says; one that says nothing that can be read closes nobody."""
    try:
        return decode(entry.value, int) if entry.value else 0
    except Malformed:
        return 0
