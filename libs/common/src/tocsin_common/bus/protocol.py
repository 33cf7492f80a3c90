"""What a bus can do. Implementations: `jetstream.JetStreamBus` and, for tests, `memory.MemoryBus`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from tocsin_common.bus.serving import AT_ONCE, Handler, Q, R
from tocsin_common.events import AnyEvent, Event, decode
from tocsin_common.requests import Endpoint
from tocsin_common.streams import Bucket, Durable, Stream

PAGE_MESSAGES = 1_000
"""Most messages of one page."""

REQUEST_S = 5.0
"""How long an answer is waited for unless the asker says otherwise."""


class Received(msgspec.Struct, frozen=True):
    """A stored message as a consumer or reader gets it. `stored_ms` is the server's clock, `deliveries` counts from 1.

    `subject` is the stored one: trades and candles carry their partition in it. `traceparent`: see `tracing`.
    """

    stream: str
    subject: str
    seq: int
    stored_ms: int
    message_id: str
    data: bytes
    deliveries: int = 1
    traceparent: str = ""

    def event(self) -> AnyEvent:
        """Decode the payload. Raises Malformed."""
        return decode(self.data)


class Stored(msgspec.Struct, frozen=True):
    """The server's receipt. `duplicate`: the id was there already, nothing was added, `seq` is the first copy's.

    On streams that are not synced it may be an attempt of the same call, cut short, that put it there.
    """

    stream: str
    seq: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Fence:
    """Stands for the newest writer of a part of a stream. Published behind an older one, nothing is stored."""

    stream: str
    subject: str
    seq: int


FenceOf = Callable[[Event], Fence | None]
"""The fence behind which an event is published; None: it needs none."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """`identity` changes when a stream is deleted and made again (its sequences then start over)."""

    messages: int
    first_seq: int
    last_seq: int
    identity: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class DurableState:
    """`pending` messages were never handed out, `ack_pending` are handed out and not yet settled."""

    pending: int
    ack_pending: int
    ack_floor_seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a bucket; `value` None: the key was deleted. `revision` grows with every write to the bucket.

    `note` is what its writer said of the writing, `stored_ms` the server's clock.
    """

    key: str
    value: bytes | None
    revision: int
    note: str = ""
    stored_ms: int = field(default=0, compare=False)


class Reader(Protocol):
    """Reads one stream in order from a position the caller owns; nothing is acknowledged."""

    async def through(self, seq: int) -> list[Received]:
        """All messages after the last returned one up to and including `seq`; skips what retention removed.

        Never waits for messages to come: where the stream ends before `seq`, so does the result. Raises Unreachable.
        """
        ...

    async def close(self) -> None: ...


class Consumer(Protocol):
    """One durable. Only declared durables exist; raises Unreachable when the server does not know it.

    On a stream a consumer starts at the acknowledgement floor and hands every message out once, in stream order,
    whatever happens to the connection. On a work queue the order is any, and what is not settled within the ack
    wait by a consumer that is gone comes again. What is in hand is never handed out a second time. Settling is
    best effort: when it gets lost the message comes again.
    """

    async def fetch(self, limit: int, wait_s: float) -> list[Received]:
        """Up to `limit` messages; waits at most `wait_s` for the first one. May return none."""
        ...

    async def ack(self, messages: Sequence[Received]) -> None: ...

    async def nak(self, message: Received, delay_s: float) -> None:
        """Offer the message again after the delay."""
        ...

    async def term(self, message: Received) -> None:
        """Never offer the message again (its dead letter has been written)."""
        ...

    async def in_progress(self, messages: Sequence[Received]) -> None:
        """Still working: start the ack wait anew."""
        ...

    async def reset(self, after: int | None = None) -> None:
        """Go back to just after sequence `after` (None: the acknowledgement floor), forgetting what was handed out.

        For streams only. Services that keep their own position (a projection's offset) call it when they start.
        """
        ...

    async def close(self) -> None: ...


class KeyValue(Protocol):
    """One bucket. Keys are subject tokens (`encode_token`).

    Where a bucket's entries may expire, a write with `ttl_s` is there for that long (whole seconds, at least 1; the
    server may take a second more), then it is as if the key had never been written: watches are not told.
    A `note` is kept with the writing (ASCII, one line).
    """

    async def get(self, key: str) -> Entry | None: ...

    async def put(self, key: str, value: bytes) -> int:
        """Write unconditionally, return the revision."""
        ...

    async def create(self, key: str, value: bytes, *, ttl_s: int | None = None, note: str = "") -> int:
        """Write only if the key does not exist. Raises Conflict."""
        ...

    async def update(self, key: str, value: bytes, revision: int, *, ttl_s: int | None = None, note: str = "") -> int:
        """Write only if `revision` is still the key's last. Raises Conflict."""
        ...

    async def delete(self, key: str, *, revision: int | None = None, note: str = "") -> int:
        """Delete, or only if `revision` is still the key's last; returns the revision that says so. Raises Conflict."""
        ...

    async def all(self) -> dict[str, Entry]: ...

    async def history(self, *, after: int) -> list[Entry]:
        """Every write and deletion after a revision that is still kept (the bucket's `history` of each key), oldest
        first. The newest write to the bucket always is."""
        ...

    def watch(self) -> AsyncIterator[Entry]:
        """Every current entry, then every change, for ever. Survives reconnects. Close it with `aclosing`."""
        ...


class Bus(Protocol):
    """Publishing waits for the server's receipt and retries with the same ids: at least once, stored once."""

    async def publish(self, events: Sequence[Event], *, fence_of: FenceOf | None = None) -> list[Stored]:
        """Store events in order, each under its derived id. Raises Unreachable when the server stays away.

        Raises Conflict when the fence of an event does not stand any more; what came before it is stored.
        """
        ...

    async def raise_fence(self, stream: Stream, part: int, token: int) -> Fence:
        """Shut out every earlier writer of a part of a fenced stream: nothing of theirs is stored from now on.

        `token` says who is newer (a lease's). Where fences expire with the messages around them, or a crash of the
        server took one, its owner raises it again. Raises Conflict: a newer writer's fence stands, or was faster.
        """
        ...

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        """Store one event if the last sequence on its subject is still `expected_last` (0: none). Raises Conflict."""
        ...

    async def last(self, stream: Stream, subject: str) -> Received | None:
        """The newest message on a stored subject (wildcards allowed), or None."""
        ...

    async def page(
        self, stream: Stream, subject: str, *, after: int = 0, since_ms: int = 0, limit: int = PAGE_MESSAGES
    ) -> list[Received]:
        """The first `limit` messages on a stored subject (wildcards allowed), oldest first.

        Either those with sequences above `after`, or those stored at `since_ms` or later. None: there are no more.
        """
        ...

    def reader(self, stream: Stream, *, after: int) -> Reader:
        """Read a stream from just after sequence `after`."""
        ...

    def consumer(self, durable: Durable) -> Consumer: ...

    def follow(self, stream: Stream, subject: str, *, after: int) -> Consumer:
        """Every message on a stored subject (wildcards allowed) from just after a sequence on, and then as they come.

        For in-order loops of those who keep their own position: nothing of it is remembered on the server.
        """
        ...

    def bucket(self, bucket: Bucket) -> KeyValue: ...

    async def request(self, endpoint: Endpoint[Q, R], question: Q, *, timeout_s: float = REQUEST_S) -> R:
        """Ask the service that answers an endpoint.

        Raises Unreachable (nobody answers, or not in time), Malformed, Rejected (never, and why), Retryable (later).
        """
        ...

    def serve(
        self, endpoint: Endpoint[Q, R], handler: Handler[Q, R], *, at_once: int = AT_ONCE
    ) -> AbstractAsyncContextManager[None]:
        """Answer an endpoint's questions inside the context, together with the other replicas of the service."""
        ...

    async def stream_state(self, stream: Stream) -> StreamState: ...

    async def durable_state(self, durable: Durable) -> DurableState: ...

    async def close(self) -> None: ...
