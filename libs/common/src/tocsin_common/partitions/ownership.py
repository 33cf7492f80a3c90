"""The partitions this replica holds: leases kept, shares followed, fences raised, events stored only where all of it
is in order.

Everybody is a member by a lease of its own, sees the others in the bucket and works its share out by itself
(`sharing`). A partition passes from one to the next like this: the holder stops storing, its lease is released (or ends
by itself), the next one takes it, raises its fences on the streams, and only then looks at what is there.
Handing over is the same as dying politely: what was not stored yet the next one makes again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from tocsin_common.bus.consume import pause
from tocsin_common.bus.leases import TTL_S, Lease
from tocsin_common.bus.protocol import Bus, Entry, Fence, FenceOf, Stored
from tocsin_common.errors import Conflict, Unreachable
from tocsin_common.events import Event
from tocsin_common.partitions.entries import said
from tocsin_common.partitions.sharing import format_ranges, next_step, parse_ranges
from tocsin_common.streams import LEASES, Stream, stream_of
from tocsin_common.subjects import PARTITIONS, encode_token

log = structlog.get_logger()

LOOK_S = 1.0
"""How often everybody looks who is there."""

KEEPING_LOOKS = 4
"""How often within its time between two renewals `run` looks whether one is due. So many parts of the leases are
renewed one after the other: all 64 at once take 15 ms, for which whatever else we do would wait."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the replicas of a service share: the partitions of what it writes.

    `service` keeps their leases apart from those of other services. Each partition of `streams` is fenced.
    `partition_of` gives the partition whose owner writes an event; None for events that need no owner.
    """

    service: str
    streams: tuple[Stream, ...]
    partition_of: Callable[[Event], int | None]

    @property
    def members(self) -> str:
        """What the keys of the members' leases begin with."""
        return f"{self.service}-member-"

    @property
    def partitions(self) -> str:
        """What the keys of the partitions' leases begin with."""
        return f"{self.service}-partition-"


class Membership(msgspec.Struct, frozen=True):
    """What a member says of itself. Host and process let the next one on the same machine see that it is dead."""

    name: str
    partitions: str
    host: str
    pid: int

    def __post_init__(self) -> None:
        parse_ranges(self.partitions)


class Ownership:
    """Which partitions are ours. `changed` is called after every change, from the event loop.

    `owns` and `store` may be used at any time, while `run` keeps the leases.
    """

    def __init__(
        self,
        bus: Bus,
        shared: Shared,
        allowed: frozenset[int],
        changed: Callable[[], None],
        *,
        ttl_s: int = TTL_S,
        look_s: float = LOOK_S,
        host: str | None = None,
    ) -> None:
        self.name = secrets.token_hex(6)
        self.members: Mapping[str, frozenset[int]] = {}
        """Who was there at the last look, and what each may hold."""
        self._bus, self._shared, self._allowed, self._changed = bus, shared, allowed, changed
        self._bucket = bus.bucket(LEASES)
        self._look_s = look_s
        self._about = Membership(self.name, format_ranges(allowed), host or socket.gethostname(), os.getpid())
        self._member = self._lease(self._member_key(self.name), msgspec.json.encode(self._about), ttl_s)
        self._leases = {
            n: self._lease(f"{shared.partitions}{n}", self.name.encode(), ttl_s)
            for n in range(PARTITIONS)
            if n in allowed
        }
        self._fences: dict[int, dict[str, Fence]] = {}
        self._storing, self._renewing = asyncio.Lock(), asyncio.Lock()
        self._renewals_s = [0.0] * KEEPING_LOOKS

    @property
    def service(self) -> str:
        """Whose replicas these are."""
        return self._shared.service

    @property
    def tokens(self) -> dict[int, int]:
        """The partitions that are ours at this moment, with the tokens of their leases."""
        leases = self._leases
        return {number: leases[number].token for number in self._fences if leases[number].held}

    def owns(self, partition: int) -> bool:
        """Whether we are surely the only one who writes it."""
        return partition in self._fences and self._leases[partition].held

    async def store(self, events: Sequence[Event]) -> list[tuple[Event, Stored]]:
        """Store what is ours, in order, behind its fences; what belongs to others is left to them.

        Raises Unreachable when the server stays away.
        """
        async with self._storing:
            while True:
                held, partition_of = {None, *self.tokens}, self._shared.partition_of
                ours = [event for event in events if partition_of(event) in held]
                try:
                    receipts = await self._bus.publish(ours, fence_of=self._fence_of())
                except Conflict as error:
                    log.warning("a fence does not stand any more", error=str(error))
                    await self._raise_again({self._shared.partition_of(event) for event in ours} - {None})
                else:
                    return list(zip(ours, receipts, strict=True))

    async def keep_up(self) -> None:
        """Renew what we hold if it is time. `run` does so, too, but not while somebody keeps the event loop busy: who
        does calls this now and then."""
        async with self._renewing:
            now_s, every_s = time.monotonic(), self._member.renew_every_s
            due = [part for part, at_s in enumerate(self._renewals_s) if now_s >= at_s]
            leases = (self._member, *self._leases.values())
            held = [lease for part in due for lease in leases[part::KEEPING_LOOKS] if lease.held]
            await asyncio.gather(*(lease.renew() for lease in held))
            for place, part in enumerate(due):  # those that were due together are not the next time
                self._renewals_s[part] = now_s + every_s * (1 - place / KEEPING_LOOKS)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep our share until `stop`, then leave in order."""
        keeping = asyncio.create_task(self._keep())
        try:
            while not stop.is_set():
                try:
                    await self._look()
                except Unreachable as error:
                    log.warning("cannot look who is there", error=str(error))
                await pause(stop, self._look_s)
        finally:
            keeping.cancel()
            await self._let_go(list(self._leases))
            await self._member.release()

    async def _keep(self) -> None:
        """Renew what we hold, well before it ends."""
        while True:
            await self.keep_up()
            await asyncio.sleep(self._member.renew_every_s / KEEPING_LOOKS)

    async def _look(self) -> None:
        lost = [number for number in self._fences if not self._leases[number].held]
        if lost:
            log.warning("partitions lost", partitions=format_ranges(lost))
            await self._let_go(lost)
        first = not self._member.token
        if not self._member.held and not await self._member.acquire():
            return
        entries = await self._bucket.all()
        dead = await self._bury(entries) if first else set()
        others = [one for one in self._memberships(entries) if one.name not in dead]
        self.members = {**{one.name: parse_ranges(one.partitions) for one in others}, self.name: self._allowed}
        holders = {number: name for number, name in self._holders(entries).items() if name not in dead}
        step = next_step(self.name, self.members, holders)
        if step.release:
            await self._let_go(step.release)
        if step.acquire:
            await self._take(step.acquire, entries)

    async def _bury(self, entries: Mapping[str, Entry]) -> set[str]:
        """Members that were processes of this machine and are dead: nobody needs to wait for their leases to end."""
        dead = {one.name for one in self._memberships(entries) if self._is_dead(one)}
        for name in dead:
            entry = entries[self._member_key(name)]
            try:
                await self._bucket.delete(entry.key, revision=entry.revision)
            except Conflict:
                log.debug("a member believed dead is gone or alive", member=name)
        return dead

    async def _take(self, partitions: Iterable[int], entries: Mapping[str, Entry]) -> None:
        """Take leases that are free (or a dead process's), and raise our fences before anything else."""

        async def take(number: int) -> int | None:
            lease, entry = self._leases[number], entries.get(self._leases[number].key)
            if not await lease.acquire(instead_of=entry.revision if entry else 0):
                return None
            return number if await self._raise_fences(number) else None

        taken = [n for n in await asyncio.gather(*(take(n) for n in partitions)) if n is not None]
        if taken:
            log.info("partitions taken", partitions=format_ranges(taken), members=len(self.members))
            self._changed()

    async def _let_go(self, partitions: Iterable[int]) -> None:
        """Nothing of these is stored any more; then others may have them."""
        gone = list(partitions)
        for number in gone:
            self._fences.pop(number, None)
        async with self._storing:  # what is on its way was stored behind our fences
            await asyncio.gather(*(self._leases[number].release() for number in gone))
        if gone:
            log.info("partitions let go", partitions=format_ranges(gone), members=len(self.members))
            self._changed()

    async def _raise_fences(self, number: int) -> bool:
        token, streams = self._leases[number].token, self._shared.streams
        try:
            fences = await asyncio.gather(*(self._bus.raise_fence(stream, number, token) for stream in streams))
        except (Conflict, Unreachable) as error:
            log.warning("no fence raised", partition=number, error=str(error))
            await self._leases[number].release()
            return False
        self._fences[number] = {fence.stream: fence for fence in fences}
        return True

    async def _raise_again(self, partitions: set[int | None]) -> None:
        """After a refusal: what is still ours gets new fences (the old ones expired, or a crash of the server took
        them); where that is refused, too, somebody else has it."""
        for number in partitions:
            if number is not None and (not self.owns(number) or not await self._raise_fences(number)):
                self._fences.pop(number, None)
                self._changed()

    def _is_dead(self, member: Membership) -> bool:
        """Whether its process does not exist any more. One with our own id ran in this container before us."""
        if member.host != self._about.host or member.name == self.name:
            return False
        return member.pid == self._about.pid or not _exists(member.pid)

    def _fence_of(self) -> FenceOf:
        """The fences that stand now, for what is about to be published."""
        standing = dict(self._fences)

        def fence_of(event: Event) -> Fence | None:
            partition = self._shared.partition_of(event)
            return None if partition is None else standing[partition][stream_of(event.subject).name]

        return fence_of

    def _memberships(self, entries: Mapping[str, Entry]) -> list[Membership]:
        members = (said(entry, Membership) for key, entry in entries.items() if key.startswith(self._shared.members))
        return [member for member in members if member is not None]

    def _holders(self, entries: Mapping[str, Entry]) -> dict[int, str]:
        found = ((number, entries.get(f"{self._shared.partitions}{number}")) for number in range(PARTITIONS))
        return {number: entry.value.decode(errors="replace") for number, entry in found if entry and entry.value}

    def _member_key(self, name: str) -> str:
        return self._shared.members + encode_token(name)

    def _lease(self, key: str, value: bytes, ttl_s: int) -> Lease:
        return Lease(self._bucket, key, value, ttl_s=ttl_s)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
