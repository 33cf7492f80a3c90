"""Changes of documents whose writer was killed before they were stated: found in the buckets, and stated.

An entry of a bucket says who wrote it, so the event follows from it, under the same id and with the same content as the
writer's own. How far the buckets were looked through is remembered; where that gets lost, everything that is kept is
looked at again, and nothing is stated twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from alerting.kinds import KINDS, Kind
from alerting.metrics import Metrics
from tocsin_common.bus.consume import pause
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.changes import changes_of
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed, Unreachable
from tocsin_common.events import Event
from tocsin_common.streams import MANAGEMENT, SNAPSHOTS

log = structlog.get_logger()

LOOK_EVERY_S = 5.0

SETTLED_MS = 10_000
"""A writer who lives has stated its change by then (the clocks of server and replica included)."""

KEY = "alerting-stated"


class Stated(msgspec.Struct, frozen=True):
    """Up to which revision each bucket was looked through."""

    through: dict[str, int] = {}


class Stating:
    """Run it in every replica: what two of them find is stored once."""

    def __init__(
        self, bus: Bus, metrics: Metrics, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._bus, self._metrics, self._now_ms = bus, metrics, clock_ms
        self._through: dict[str, int] | None = None

    async def watch(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`."""
        while True:
            try:
                await self.look(stop)
            except Unreachable as error:
                log.warning("cannot tell whether all changes are stated", error=str(error))
            if await pause(stop, LOOK_EVERY_S):
                return

    async def look(self, stop: asyncio.Event) -> None:
        """State what was not stated, or a part of it when `stop` comes. Raises Unreachable."""
        through = self._through if self._through is not None else await self._load()
        found = {}
        for kind in KINDS.values():
            found[kind.bucket.name] = await self._of(kind, through.get(kind.bucket.name, 0), stop)
        if found != through:
            await self._bus.bucket(SNAPSHOTS).put(KEY, msgspec.json.encode(Stated(found)))
        self._through = found

    async def _of(self, kind: Kind[Any], through: int, stop: asyncio.Event) -> int:
        """State what is new in one bucket. Returns how far it is done."""
        through, entries = await self._since(kind, through)
        stated = 0
        for entry in entries:
            if stop.is_set() or entry.stored_ms > self._now_ms() - SETTLED_MS:
                break
            stated += await self._state(kind, entry)
            through = entry.revision
        if stated:
            self._metrics.changes_stated_late.labels(kind.name).inc(stated)
            log.info("changes were stated late", kind=kind.name, changes=stated, through_revision=through)
        return through

    async def _since(self, kind: Kind[Any], through: int) -> tuple[int, list[Entry]]:
        """What was written after a revision. The newest entry is always kept: none from there on means that the bucket
        was made anew, and begins at 0."""
        bucket = self._bus.bucket(kind.bucket)
        found = await bucket.history(after=max(0, through - 1))
        if through and not found:
            return 0, await bucket.history(after=0)
        return through, [entry for entry in found if entry.revision > through]

    async def _state(self, kind: Kind[Any], entry: Entry) -> int:
        """How many events had to be stated."""
        if entry.stored_ms < self._now_ms() - MANAGEMENT.max_age_s * 1000:
            return 0  # they would not be kept any more
        try:
            changes = changes_of(kind.name, entry)
        except ValueError:
            return 0  # a key that no document can have: the directory says so
        missing = [change for change in changes if not await self._is_stated(change)]
        return sum(not stored.duplicate for stored in await self._bus.publish(missing))

    async def _is_stated(self, change: Event) -> bool:
        page = await self._bus.page(MANAGEMENT, change.subject)
        while page:
            if any(message.message_id == change.event_id for message in page):
                return True
            page = await self._bus.page(MANAGEMENT, change.subject, after=page[-1].seq)
        return False

    async def _load(self) -> dict[str, int]:
        entry = await self._bus.bucket(SNAPSHOTS).get(KEY)
        try:
            return decode(entry.value, Stated).through if entry and entry.value else {}
        except Malformed:
            return {}
