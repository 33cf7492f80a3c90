"""Reading and changing rules, subscribers and silences for somebody: the one way for every door.

A change names the writing that it replaces, so nobody overwrites what they have not seen, and is stated on the stream
MANAGEMENT. It is in force in this process when the call returns, elsewhere within moments.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from alerting.directory import Directory
from alerting.judging.quotas import Quotas
from alerting.kinds import D, Held, Kind
from alerting.management.permissions import as_written_by, may_see
from alerting.metrics import Metrics
from alerting.reasons import Refused
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.changes import Became, changes_of, note_of
from tocsin_common.documents import encode
from tocsin_common.errors import Conflict, Malformed, Rejected
from tocsin_common.requests.management import Actor
from tocsin_common.subjects import encode_token

log = structlog.get_logger()

MAX_DOCUMENTS = 100_000
"""Of one kind, altogether: all of them are held in memory."""

MAX_DOCUMENT_BYTES = 64 * 1024

TRIES = 3
"""How often a change is made anew when somebody else was faster."""


class Management:
    """Acts for an `Actor`. Raises Rejected with a reason of `reasons.Refused`, and Unreachable."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        metrics: Metrics,
        quotas: Quotas,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus, self._directory, self._metrics, self._now_ms = bus, directory, metrics, clock_ms
        self._quotas = quotas

    def page(self, actor: Actor, kind: Kind[D], *, after: str = "", limit: int = 100) -> list[Held[D]]:
        """The first `limit` documents that the actor may see, by id, whose ids come after `after`."""
        held = self._directory.held(kind)
        ids = (name for name, one in held.items() if name > after and may_see(actor, one.document))
        return [held[name] for name in heapq.nsmallest(limit, ids)]

    async def get(self, actor: Actor, kind: Kind[D], document_id: str) -> Held[D]:
        """One document as it is stored now."""
        found = await self._stored(kind, document_id)
        if found is None or not may_see(actor, found.document):
            raise _not_found(kind, document_id)
        return found

    async def put(
        self, actor: Actor, kind: Kind[D], document: D, revision: int, *, became: Became | None = None
    ) -> Held[D]:
        """Write a document in place of its writing `revision` (0: there must be none). Returns it as written.

        Asked again after the answer got lost, it is not written again. `became`: it says so of a destination.
        """
        document_id = kind.id_of(document)
        before = await self._replaced(actor, kind, document_id, revision)
        document = as_written_by(actor, document, before.document if before else None, self._most_destinations(actor))
        value = _checked(kind, document_id, document)
        if revision == 0:
            self._make_room(actor, kind)
        entry = await self._written(kind, Entry(encode_token(document_id), value, revision, self._note(actor, became)))
        if entry is None:
            raise _conflict(kind, document_id, revision)
        await self._state(kind, entry)
        return Held(document, entry.revision)

    async def delete(self, actor: Actor, kind: Kind[D], document_id: str, revision: int) -> int:
        """Delete a document whose last writing is `revision`. Returns the revision of the deletion."""
        if not actor.is_operator:
            await self._check_deletable(actor, kind, document_id)
        key, note, bucket = encode_token(document_id), self._note(actor), self._bus.bucket(kind.bucket)
        if await bucket.get(key) is None:
            raise _not_found(kind, document_id)
        try:
            deleted = await bucket.delete(key, revision=revision, note=note)
        except Conflict:
            raise _conflict(kind, document_id, revision) from None
        await self._state(kind, Entry(key, None, deleted, note))
        return deleted

    async def change(
        self, actor: Actor, kind: Kind[D], document_id: str, edit: Callable[[D], D], *, became: Became | None = None
    ) -> Held[D]:
        """Read, edit and write; anew when somebody else wrote meanwhile."""
        for last in (*(False,) * (TRIES - 1), True):
            found = await self.get(actor, kind, document_id)
            try:
                return await self.put(actor, kind, edit(found.document), found.revision, became=became)
            except Rejected as error:
                if last or error.reason != Refused.CONFLICT:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _written(self, kind: Kind[D], wanted: Entry) -> Entry | None:
        """The entry as it was written in place of the revision it has; one that stands already with the same value is
        that. None: there is another."""
        bucket, value = self._bus.bucket(kind.bucket), wanted.value or b""
        try:
            if wanted.revision:
                written = await bucket.update(wanted.key, value, wanted.revision, note=wanted.note)
            else:
                written = await bucket.create(wanted.key, value, note=wanted.note)
        except Conflict:
            found = await bucket.get(wanted.key)
            return found if found is not None and found.value == value else None
        return replace(wanted, revision=written)

    def _note(self, actor: Actor, became: Became | None = None) -> str:
        return note_of(actor.subscriber_id or None, actor.via, self._now_ms(), became)

    async def _stored(self, kind: Kind[D], document_id: str) -> Held[D] | None:
        entry = await self._bus.bucket(kind.bucket).get(encode_token(document_id))
        if entry is None or entry.value is None:
            return None
        try:
            return Held(kind.decode(entry.value, document_id), entry.revision)
        except Malformed as error:
            detail = f"revision {entry.revision} of the {kind.name} {document_id!r} cannot be read: {error}"
            raise Rejected(Refused.INVALID, detail) from error

    async def _replaced(self, actor: Actor, kind: Kind[D], document_id: str, revision: int) -> Held[D] | None:
        """What a subscriber is going to replace; operators need not know."""
        if actor.is_operator or not revision:
            return None
        return await self.get(actor, kind, document_id)

    async def _check_deletable(self, actor: Actor, kind: Kind[D], document_id: str) -> None:
        await self.get(actor, kind, document_id)
        if kind.name == "subscriber":
            raise Rejected(Refused.FORBIDDEN, "operators delete subscribers; mute yourself instead")

    def _make_room(self, actor: Actor, kind: Kind[D]) -> None:
        held = self._directory.held(kind)
        if len(held) >= MAX_DOCUMENTS:
            raise Rejected(Refused.TOO_MANY, f"there are {MAX_DOCUMENTS} {kind.name}s; delete some first")
        if actor.is_operator:
            return
        limits = self._quotas.limits(actor.subscriber_id)
        most = limits.silences if kind.name == "silence" else limits.rules
        if sum(may_see(actor, one.document) for one in held.values()) >= most:
            raise Rejected(Refused.TOO_MANY, f"you may have {most} {kind.name}s; delete some first")

    def _most_destinations(self, actor: Actor) -> int:
        return self._quotas.limits(actor.subscriber_id).destinations

    async def _state(self, kind: Kind[D], entry: Entry) -> None:
        """Go by it, and say who did it. Killed before that, `stating` says the same."""
        self._directory.take(kind, entry)
        changes = changes_of(kind.name, entry)
        await self._bus.publish(changes)
        action = "deleted" if entry.value is None else "written"
        self._metrics.documents_changed.labels(kind.name, action).inc()
        log.info("document changed", kind=kind.name, key=entry.key, action=action, revision=entry.revision)


def _checked(kind: Kind[D], document_id: str, document: D) -> bytes:
    """As it is stored, and as every reader will accept it."""
    value = encode(document)
    if len(value) > MAX_DOCUMENT_BYTES:
        raise Rejected(Refused.INVALID, f"{len(value)} bytes, at most {MAX_DOCUMENT_BYTES}")
    try:
        kind.decode(value, document_id)
    except Malformed as error:
        raise Rejected(Refused.INVALID, str(error)) from error
    return value


def _not_found(kind: Kind[D], document_id: str) -> Rejected:
    return Rejected(Refused.NOT_FOUND, f"there is no {kind.name} {document_id!r}")


def _conflict(kind: Kind[D], document_id: str, revision: int) -> Rejected:
    if revision == 0:
        detail = f"there is a {kind.name} {document_id!r} already; name the revision that is to be replaced"
    else:
        detail = f"the {kind.name} {document_id!r} is not at revision {revision} any more; read it again"
    return Rejected(Refused.CONFLICT, detail)
