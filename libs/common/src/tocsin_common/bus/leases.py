"""Leases: what only one may do at a time is done by whoever holds a key of the bucket `leases`.

A lease ends by itself when its holder does not renew it, so a dead holder is replaced without anybody's help. The
holder counts from the moment it *asked* for the lease, on its own monotonic clock, and takes a tenth off for clocks of
different speed. The server counts from the moment it stored the lease, so the holder always stops first.

That is not enough where a second writer would do harm. A process can be paused between its last look at `held` and its
write, and wake up after somebody else took over. Such writes carry a fence (see `Bus.raise_fence`); `token` grows from
holder to holder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from tocsin_common.bus.protocol import KeyValue
from tocsin_common.errors import Conflict, Unreachable

log = structlog.get_logger()

TTL_S = 6
"""How long a lease outlives its holder (the server may take a second more)."""

RENEWALS = 3
"""A lease is renewed this often in its time: one lost renewal, or a slow one, does not end it."""

MARGIN = 0.1
"""The part of its time by which a holder stops earlier than the server."""


class Lease:
    """One lease as one would-be holder sees it. `value` is what others read; no two holders may give the same.

    Tasks may acquire, renew and release at the same time: they take turns.
    """

    def __init__(
        self,
        bucket: KeyValue,
        key: str,
        value: bytes,
        *,
        ttl_s: int = TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.token = 0
        """The revision at which the lease was acquired: every later holder has a greater one."""
        self._bucket, self._value = bucket, value
        self._ttl_s, self._clock = ttl_s, clock
        self._revision = 0
        self._ends_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether we are surely the only holder at this moment."""
        return self._clock() < self._ends_s

    @property
    def renew_every_s(self) -> float:
        return self._ttl_s / RENEWALS

    async def acquire(self, *, instead_of: int = 0) -> bool:
        """Take the lease if nobody has it; True when it is ours.

        `instead_of`: take it from the holder whose entry has this revision, because it is known to be dead.
        """
        try:
            async with asyncio.timeout(self._ttl_s), self._turn:
                found = await self._bucket.get(self.key)
                if found is not None and found.value != self._value and found.revision != instead_of:
                    return False
                await self._write(found.revision if found else None)
        except (Conflict, Unreachable, TimeoutError) as error:
            log.debug("lease not acquired", lease=self.key, error=str(error))
            return False
        self.token = self._revision
        return self.held

    async def renew(self) -> bool:
        """Hold the lease longer; True while it is ours. Never waits longer than the lease lasts."""
        left_s = self._ends_s - self._clock()
        try:
            async with asyncio.timeout(left_s), self._turn:
                if not self.held:
                    return False
                try:
                    await self._write(self._revision)
                except Conflict:
                    await self._write(await self._stored_by_us())
        except Conflict:
            log.warning("lease lost: somebody else has it", lease=self.key)
            self._ends_s = 0.0
        except (Unreachable, TimeoutError) as error:
            log.warning("lease not renewed", lease=self.key, held=self.held, error=str(error))
        return self.held

    async def release(self) -> None:
        """Let the next one have it at once. What only the holder may do must be over."""
        try:
            async with asyncio.timeout(self._ttl_s), self._turn:
                ours, self._ends_s = self.held, 0.0
                if not ours:
                    return
                try:
                    await self._bucket.delete(self.key, revision=self._revision)
                except Conflict:
                    await self._bucket.delete(self.key, revision=await self._stored_by_us())
        except (Conflict, Unreachable, TimeoutError) as error:
            log.debug("lease not released, it will end by itself", lease=self.key, error=str(error))

    async def _write(self, revision: int | None) -> None:
        asked_s = self._clock()
        if revision is None:
            self._revision = await self._bucket.create(self.key, self._value, ttl_s=self._ttl_s)
        else:
            self._revision = await self._bucket.update(self.key, self._value, revision, ttl_s=self._ttl_s)
        self._ends_s = asked_s + self._ttl_s * (1 - MARGIN)

    async def _stored_by_us(self) -> int:
        """The revision of a renewal whose receipt got lost. Raises Conflict: the last entry is not ours."""
        found = await self._bucket.get(self.key)
        if found is None or found.value != self._value:
            raise Conflict(f"the lease {self.key!r} is not ours any more")
        return found.revision
