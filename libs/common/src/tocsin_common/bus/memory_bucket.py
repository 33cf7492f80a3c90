"""The buckets of the bus inside one process."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from tocsin_common.bus.protocol import Entry
from tocsin_common.errors import Conflict


class MemoryKeyValue:
    """Implements `KeyValue`."""

    def __init__(self, history: int = 8, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._history, self._now_ms = history, clock_ms
        self._entries: dict[str, Entry] = {}
        self._ends_s: dict[str, float] = {}
        self._changes: list[Entry] = []
        self._changed = asyncio.Event()

    async def get(self, key: str) -> Entry | None:
        entry = self._last(key)
        return entry if entry and entry.value is not None else None

    async def put(self, key: str, value: bytes) -> int:
        return self._write(key, value)

    async def create(self, key: str, value: bytes, *, ttl_s: int | None = None, note: str = "") -> int:
        if await self.get(key):
            raise Conflict(f"the key {key!r} exists already")
        return self._write(key, value, ttl_s, note)

    async def update(self, key: str, value: bytes, revision: int, *, ttl_s: int | None = None, note: str = "") -> int:
        self._expect(key, revision)
        return self._write(key, value, ttl_s, note)

    async def delete(self, key: str, *, revision: int | None = None, note: str = "") -> int:
        if revision is not None:
            self._expect(key, revision)
        return self._write(key, None, note=note)

    async def all(self) -> dict[str, Entry]:
        entries = [self._last(key) for key in list(self._entries)]
        return {entry.key: entry for entry in entries if entry is not None and entry.value is not None}

    async def history(self, *, after: int) -> list[Entry]:
        kept: list[Entry] = []
        newer: Counter[str] = Counter()
        for entry in reversed(self._changes[after:]):
            if newer[entry.key] < self._history:
                kept.append(entry)
            newer[entry.key] += 1
        return kept[::-1]

    async def watch(self) -> AsyncIterator[Entry]:
        position = len(self._changes)
        for entry in sorted((await self.all()).values(), key=lambda entry: entry.revision):
            yield entry
        while True:
            for entry in self._changes[position:]:
                position += 1
                yield entry
            if position == len(self._changes):
                await self._changed.wait()

    def _last(self, key: str) -> Entry | None:
        if self._ends_s.get(key, math.inf) <= time.monotonic():
            del self._entries[key], self._ends_s[key]
        return self._entries.get(key)

    def _expect(self, key: str, revision: int) -> None:
        last = self._last(key)
        found = last.revision if last else 0
        if found != revision:
            raise Conflict(f"the key {key!r} is at revision {found}, not {revision}")

    def _write(self, key: str, value: bytes | None, ttl_s: int | None = None, note: str = "") -> int:
        entry = Entry(key, value, len(self._changes) + 1, note, self._now_ms())
        self._entries[key] = entry
        self._ends_s[key] = math.inf if ttl_s is None else time.monotonic() + ttl_s
        self._changes.append(entry)
        self._changed.set()
        self._changed = asyncio.Event()
        return entry.revision
