"""One receiver's slots, shared by all replicas: an entry of the bucket `permits`, written where nobody wrote since.

An entry ends by itself when its slots matter no more. A replica that dies loses the slots it had reserved and no more.
"""

from __future__ import annotations

import math

import msgspec

from alerting.reasons import Undelivered
from alerting.sending.clock import ClockMs
from alerting.sending.slots import Limits, lifetime_ms, next_slot, remembered, reserve
from tocsin_common.bus.protocol import KeyValue
from tocsin_common.decoding import decode
from tocsin_common.errors import Conflict, Malformed, Retryable

TRIES = 20
"""So often another replica may be faster."""

BUSY_S = 0.1

EARLY_MS = 500
"""Who comes back is a little early: nothing is lost by waiting here for the rest."""

FAR_MS = 2**62


class Book:
    """What is known here of the slots; the truth is in the bucket. All times by `clock_ms`."""

    def __init__(self, bucket: KeyValue, key: str, limits: Limits, clock_ms: ClockMs) -> None:
        self._bucket = bucket
        self._key = key
        self._limits = limits
        self._now_ms = clock_ms
        self._ttl_s = math.ceil(lifetime_ms(limits) / 1000) + 1
        self._slots: list[int] = []
        self._revision = 0
        self._ends_ms = 0
        self._promised: list[int] = []
        self._returned: list[int] = []
        self.late_ms = min(limit.late_ms for limit in limits)

    @property
    def forgotten(self) -> bool:
        """Whether the entry has ended by itself."""
        return self._now_ms() >= self._ends_ms

    def next_ms(self, now_ms: int) -> int:
        """The next slot, as far as is known here."""
        return next_slot(self._known(), self._limits, now_ms)

    def give_back(self, slot: int) -> None:
        """A slot was not used: with the next writing it is as if it had never been reserved."""
        self._returned.append(slot)

    def come_back_s(self, *, behind: int) -> float:
        """When to come again, for somebody behind so many who wait here: one after another."""
        now_ms = self._now_ms()
        taken = self._promised
        if not taken or taken[-1] < now_ms:
            known = self._known()
            taken = [*known, *reserve(known, self._limits, now_ms, wanted=behind, until_ms=FAR_MS)]
        promised_ms = next_slot(taken, self._limits, now_ms)
        self._promised = remembered([*taken, promised_ms], self._limits, now_ms)
        return max(promised_ms - EARLY_MS - now_ms, BUSY_S * 1000) / 1000

    async def reserve(self, wanted: int, *, from_ms: int, until_ms: int) -> list[int]:
        """Take up to `wanted` slots between two moments; none: there is none so early.

        Raises Retryable when others are faster again and again, Unreachable.
        """
        if self.forgotten:
            self._slots, self._returned, self._revision = [], [], 0
        for _ in range(TRIES):
            known, returned = self._known(), list(self._returned)
            found = reserve(known, self._limits, from_ms, wanted=wanted, until_ms=until_ms)
            if not found:
                return []
            kept = remembered([*known, *found], self._limits, from_ms)
            try:
                self._revision = await self._bucket.update(
                    self._key, msgspec.json.encode(kept), self._revision, ttl_s=self._ttl_s
                )
            except Conflict:
                await self._read()
            else:
                self._slots = kept
                self._returned = [slot for slot in self._returned if slot not in returned]
                self._ends_ms = self._now_ms() + self._ttl_s * 1000
                return found
        raise Retryable(Undelivered.RATE_LIMITED, "others were faster", retry_after_s=BUSY_S)

    def _known(self) -> list[int]:
        """The slots without those that were given back."""
        known = list(self._slots)
        for slot in self._returned:
            if slot in known:
                known.remove(slot)
        return known

    async def _read(self) -> None:
        entry = await self._bucket.get(self._key)
        self._revision = entry.revision if entry else 0
        self._ends_ms = self._now_ms() + self._ttl_s * 1000
        try:
            self._slots = decode(entry.value, list[int]) if entry and entry.value else []
        except Malformed:
            self._slots = []
