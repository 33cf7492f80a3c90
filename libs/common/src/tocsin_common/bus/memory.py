"""A bus inside one process, for tests: it passes the same suite as JetStream, and needs no server.

Ids are remembered for ever and no message expires by age; everything else behaves as the declared streams do.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec

from tocsin_common import tracing
from tocsin_common.bus import serving
from tocsin_common.bus.fences import fence_subject, refuse_older
from tocsin_common.bus.memory_bucket import MemoryKeyValue
from tocsin_common.bus.protocol import (
    PAGE_MESSAGES,
    REQUEST_S,
    DurableState,
    Fence,
    FenceOf,
    Received,
    Stored,
    StreamState,
)
from tocsin_common.bus.serving import AT_ONCE, Handler, Q, R, Responder
from tocsin_common.errors import Conflict
from tocsin_common.events import Event, encode
from tocsin_common.requests import Endpoint
from tocsin_common.streams import Bucket, Durable, Stream, stream_of
from tocsin_common.subjects import FENCE, decode_token, matches, partition_of


class MemoryBus:
    """Implements `Bus`. Several consumers of one durable share its position, as on a server.

    `clock_ms` tells when messages are stored.
    """

    def __init__(self, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = clock_ms
        self._logs: dict[str, _Log] = {}
        self._durables: dict[str, _Position] = {}
        self._buckets: dict[str, MemoryKeyValue] = {}
        self._responders: dict[str, list[Responder[Any, Any]]] = defaultdict(list)

    async def publish(self, events: Sequence[Event], *, fence_of: FenceOf | None = None) -> list[Stored]:
        trace = tracing.traceparent()
        stored = []
        for event in events:
            log, fence = self._log(stream_of(event.subject)), fence_of(event) if fence_of else None
            if fence is not None:
                log.refuse_behind(fence)
            stored.append(log.store(event, trace))
        return stored

    async def raise_fence(self, stream: Stream, part: int, token: int) -> Fence:
        subject, log = fence_subject(stream, part), self._log(stream)
        refuse_older(subject, log.newest(subject), token)
        stored = log.store_raw(subject, uuid4().hex, str(token).encode())
        return Fence(stream.name, subject, stored.seq)

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        log = self._log(stream_of(event.subject))
        subject = stored_subject(log.stream, event.subject)
        newest = log.newest(subject)
        found = newest.seq if newest else 0
        if found != expected_last:
            following = next(log.matching(subject, expected_last + 1), None)
            if following is None or following.message_id != event.event_id:
                raise Conflict(f"{event.subject}: the last sequence is {found}, not {expected_last}")
            return Stored(log.stream.name, following.seq, duplicate=True)
        return log.store(event, tracing.traceparent())

    async def last(self, stream: Stream, subject: str) -> Received | None:
        return self._log(stream).newest(subject)

    async def page(
        self, stream: Stream, subject: str, *, after: int = 0, since_ms: int = 0, limit: int = PAGE_MESSAGES
    ) -> list[Received]:
        found = (message for message in self._log(stream).matching(subject, after + 1) if message.stored_ms >= since_ms)
        return list(itertools.islice(found, limit))

    def reader(self, stream: Stream, *, after: int) -> MemoryReader:
        return MemoryReader(self._log(stream), after)

    def consumer(self, durable: Durable) -> MemoryConsumer:
        log = self._log(durable.stream)
        return MemoryConsumer(log, self._durables.setdefault(durable.name, _Position(durable)))

    def follow(self, stream: Stream, subject: str, *, after: int) -> MemoryConsumer:
        return MemoryConsumer(self._log(stream), _Position(Durable("follower", stream, subject), next_seq=after + 1))

    def bucket(self, bucket: Bucket) -> MemoryKeyValue:
        return self._buckets.setdefault(bucket.name, MemoryKeyValue(bucket.history, self._now_ms))

    async def request(self, endpoint: Endpoint[Q, R], question: Q, *, timeout_s: float = REQUEST_S) -> R:
        data, responders = serving.encoded(endpoint, question), self._responders[endpoint.subject]
        if not responders:
            raise serving.nobody(endpoint)
        responders.append(responders.pop(0))
        try:
            return serving.reply_of(endpoint, await asyncio.wait_for(responders[-1].answer(data), timeout_s))
        except TimeoutError as error:
            raise serving.too_late(endpoint, timeout_s) from error

    @asynccontextmanager
    async def serve(
        self, endpoint: Endpoint[Q, R], handler: Handler[Q, R], *, at_once: int = AT_ONCE
    ) -> AsyncIterator[None]:
        responder = Responder(endpoint, handler, at_once)
        self._responders[endpoint.subject].append(responder)
        yield
        self._responders[endpoint.subject].remove(responder)

    async def stream_state(self, stream: Stream) -> StreamState:
        log = self._log(stream)
        size = sum(len(message.data) for message in log.messages.values())
        return StreamState(len(log.messages), log.first_seq, log.last_seq, log.identity, size)

    async def durable_state(self, durable: Durable) -> DurableState:
        log, position = self._log(durable.stream), self.consumer(durable).position
        pending = sum(1 for _ in log.matching(durable.filter, position.next_seq))
        return DurableState(pending, len(position.unsettled), position.ack_floor)

    async def close(self) -> None:
        """Nothing to close; what was stored stays readable."""

    def purge(self, stream: Stream, *, before: int) -> None:
        """Remove the messages with sequences below `before`, as retention does."""
        log = self._log(stream)
        for seq in [seq for seq in log.messages if seq < before]:
            log.remove(seq)

    def store_raw(self, stream: Stream, subject: str, data: bytes) -> None:
        """Store bytes that need not be an event, as a stranger would."""
        log = self._log(stream)
        log.store_raw(subject, f"raw-{log.last_seq}", data)

    def _log(self, stream: Stream) -> _Log:
        return self._logs.setdefault(stream.name, _Log(stream, self._now_ms))


def stored_subject(stream: Stream, subject: str) -> str:
    """The subject as the server stores it: streams with a transform get the partition before exchange and symbol."""
    if stream.transform is None or not matches(stream.transform[0], subject):
        return subject
    root, kind, exchange, symbol, *rest = subject.split(".")
    partition = partition_of(decode_token(exchange), decode_token(symbol))
    return ".".join([root, kind, str(partition), exchange, symbol, *rest])


@dataclass
class _Log:
    """The messages of one stream by sequence, ascending."""

    stream: Stream
    now_ms: Callable[[], int]
    messages: dict[int, Received] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    by_subject: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    last_seq: int = 0
    identity: str = field(default_factory=lambda: uuid4().hex)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def first_seq(self) -> int:
        return next(iter(self.messages), self.last_seq + 1 if self.last_seq else 0)

    def store(self, event: Event, traceparent: str) -> Stored:
        return self.store_raw(event.subject, event.event_id, encode(event), traceparent)

    def store_raw(self, subject: str, message_id: str, data: bytes, traceparent: str = "") -> Stored:
        if message_id in self.ids:
            return Stored(self.stream.name, self.ids[message_id], duplicate=True)
        self.last_seq += 1
        stored = stored_subject(self.stream, subject)
        self.messages[self.last_seq] = Received(
            self.stream.name, stored, self.last_seq, self.now_ms(), message_id, data, traceparent=traceparent
        )
        self.ids[message_id] = self.last_seq
        of_subject = self.by_subject[stored]
        of_subject.append(self.last_seq)
        if 0 < self.stream.max_per_subject < len(of_subject):
            self.remove(of_subject[0])
        self.announce()
        return Stored(self.stream.name, self.last_seq, duplicate=False)

    def refuse_behind(self, fence: Fence) -> None:
        """Raise Conflict unless the fence stands."""
        newest = self.newest(fence.subject)
        if newest is None or newest.seq != fence.seq:
            raise Conflict(f"{fence.subject}: the fence {fence.seq} does not stand any more")

    def remove(self, seq: int) -> None:
        message = self.messages.pop(seq, None)
        if message is not None:
            self.by_subject[message.subject].remove(seq)

    def newest(self, pattern: str) -> Received | None:
        if "*" in pattern or ">" in pattern:
            found = (seqs[-1] for subject, seqs in self.by_subject.items() if seqs and matches(pattern, subject))
            seq = max(found, default=0)
        else:
            seqs = self.by_subject.get(pattern)
            seq = seqs[-1] if seqs else 0
        return self.messages.get(seq)

    def matching(self, pattern: str, first: int) -> Iterator[Received]:
        for seq in range(max(first, self.first_seq), self.last_seq + 1):
            message = self.messages.get(seq)
            if message is not None and matches(pattern, message.subject):
                yield message

    def announce(self) -> None:
        """Wake everybody who waits for this stream."""
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryReader:
    """Implements `Reader`."""

    def __init__(self, log: _Log, after: int) -> None:
        self._log, self._after = log, after

    async def through(self, seq: int) -> list[Received]:
        wanted = range(self._after + 1, min(seq, self._log.last_seq) + 1)
        read = [message for n in wanted if (message := self._log.messages.get(n)) is not None]
        found = [message for message in read if not message.subject.startswith(FENCE)]
        self._after = max(self._after, min(seq, self._log.last_seq))
        return found

    async def close(self) -> None:
        """Nothing to close."""


TICK_S = 1e-6
"""A wait that every clock can tell from none: a shorter one would come back at the same time, for ever."""


@dataclass
class _Position:
    """Where one durable stands. `unsettled` maps a sequence to the moment it is offered again (loop time)."""

    durable: Durable
    next_seq: int = 1
    unsettled: dict[int, float] = field(default_factory=dict)
    deliveries: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def ack_floor(self) -> int:
        return min(self.unsettled, default=self.next_seq) - 1

    def settle(self, seq: int) -> None:
        self.unsettled.pop(seq, None)
        self.deliveries.pop(seq, None)


class MemoryConsumer:
    """Implements `Consumer`. `_in_hand` is what this consumer handed out and nobody settled yet."""

    def __init__(self, log: _Log, position: _Position) -> None:
        self._log, self.position = log, position
        self._in_hand: set[int] = set()
        self._positioned = not position.durable.ordered

    async def fetch(self, limit: int, wait_s: float) -> list[Received]:
        if not self._positioned:
            await self.reset()
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not (found := self._take(limit, loop.time())) and loop.time() < deadline:
            wake = min([deadline, *self.position.unsettled.values()])
            try:
                await asyncio.wait_for(self._log.changed.wait(), max(TICK_S, wake - loop.time()))
            except TimeoutError:
                continue
        return found

    def _take(self, limit: int, now: float) -> list[Received]:
        """What may be handed out now: messages due again first, then new ones."""
        position, durable = self.position, self.position.durable
        for seq in [seq for seq in position.unsettled if seq not in self._log.messages]:
            self._settle(seq)
        for seq in self._in_hand & position.unsettled.keys():
            position.unsettled[seq] = max(position.unsettled[seq], now + self._ack_wait_s)
        due = sorted(seq for seq, when in position.unsettled.items() if when <= now)[:limit]
        room = min(limit - len(due), durable.max_ack_pending - len(position.unsettled))
        messages = [self._log.messages[seq] for seq in due]
        messages += itertools.islice(self._log.matching(durable.filter, position.next_seq), max(0, room))
        for message in messages:
            position.next_seq = max(position.next_seq, message.seq + 1)
            position.unsettled[message.seq] = now + self._ack_wait_s
            position.deliveries[message.seq] += 1
        self._in_hand.update(message.seq for message in messages)
        return [msgspec.structs.replace(message, deliveries=position.deliveries[message.seq]) for message in messages]

    @property
    def _ack_wait_s(self) -> float:
        """Ordered durables are not offered again while somebody holds them: the next one resets."""
        return math.inf if self.position.durable.ordered else self.position.durable.ack_wait_s

    async def ack(self, messages: Sequence[Received]) -> None:
        for message in messages:
            await self.term(message)

    async def nak(self, message: Received, delay_s: float) -> None:
        if message.seq in self._in_hand:
            self._in_hand.discard(message.seq)
            self.position.unsettled[message.seq] = asyncio.get_running_loop().time() + delay_s
        self._log.announce()

    async def term(self, message: Received) -> None:
        if message.seq in self._in_hand:
            self._settle(message.seq)
            if self._log.stream.work_queue:
                self._log.remove(message.seq)
        self._log.announce()

    async def in_progress(self, messages: Sequence[Received]) -> None:
        """Nothing to do: what is in hand is not offered again."""

    async def reset(self, after: int | None = None) -> None:
        self._positioned = True
        self.position.next_seq = (self.position.ack_floor if after is None else after) + 1
        self.position.unsettled.clear()
        self.position.deliveries.clear()
        self._in_hand.clear()
        self._log.announce()

    async def close(self) -> None:
        """What was handed out and not settled is offered again after the ack wait."""
        again = asyncio.get_running_loop().time() + self._ack_wait_s
        self.position.unsettled.update(dict.fromkeys(self._in_hand, again))
        self._in_hand.clear()

    def _settle(self, seq: int) -> None:
        self._in_hand.discard(seq)
        self.position.settle(seq)
