"""The bus on NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import groupby

import structlog

from tocsin_common import tracing
from tocsin_common.bus import serving
from tocsin_common.bus.buckets import JetStreamKeyValue
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.fences import fence_subject, refuse_older
from tocsin_common.bus.following import JetStreamFollower
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
from tocsin_common.bus.provision import missing_streams
from tocsin_common.bus.publishing import Publisher
from tocsin_common.bus.pulling import JetStreamConsumer, durable_state
from tocsin_common.bus.reading import JetStreamReader, last_on_leader, page_on_subject, stream_state
from tocsin_common.bus.serving import AT_ONCE, Handler, Q, R, Responder
from tocsin_common.bus.storing import Outgoing, new_id
from tocsin_common.config import NatsSection
from tocsin_common.errors import Unreachable
from tocsin_common.events import Event, encode
from tocsin_common.requests import Endpoint
from tocsin_common.streams import Bucket, Durable, Stream, stream_of

log = structlog.get_logger()

STREAMS_WAIT_S = 30.0
"""How long a starting service waits for `tocsin streams apply` before it gives up and says so."""

STREAMS_LOOK_S = 0.5


class JetStreamBus:
    """Implements `Bus`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._publisher = Publisher(connection)
        self._consumers: list[JetStreamConsumer] = []

    @classmethod
    async def connect(cls, section: NatsSection, *, name: str, stop: asyncio.Event | None = None) -> JetStreamBus:
        """Connect, and wait until the declared streams are there.

        Raises Unreachable after half a minute without server or streams, or at once when `stop` is set.
        """
        bus = cls(await Connection.open(section, name=name, stop=stop))
        try:
            await bus._await_streams(stop or asyncio.Event())
        except BaseException:
            await bus.close()
            raise
        return bus

    async def publish(self, events: Sequence[Event], *, fence_of: FenceOf | None = None) -> list[Stored]:
        stored: list[Stored] = []
        headers = {tracing.HEADER: tracing.traceparent()}
        for stream, group in groupby(events, key=lambda event: stream_of(event.subject)):
            messages = [
                Outgoing(e.subject, encode(e), e.event_id, headers=headers, fence=fence_of(e) if fence_of else None)
                for e in group
            ]
            stored += await self._publisher.publish(stream, messages)
        return stored

    async def raise_fence(self, stream: Stream, part: int, token: int) -> Fence:
        subject = fence_subject(stream, part)
        standing = await last_on_leader(self.connection, stream.name, subject)
        refuse_older(subject, standing, token)
        message = Outgoing(subject, str(token).encode(), new_id(), standing.seq if standing else 0)
        return Fence(stream.name, subject, (await self._publisher.append(stream, message)).seq)

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        headers = {tracing.HEADER: tracing.traceparent()}
        message = Outgoing(event.subject, encode(event), event.event_id, expected_last, headers)
        return await self._publisher.append(stream_of(event.subject), message)

    async def last(self, stream: Stream, subject: str) -> Received | None:
        return await last_on_leader(self.connection, stream.name, subject)

    async def page(
        self, stream: Stream, subject: str, *, after: int = 0, since_ms: int = 0, limit: int = PAGE_MESSAGES
    ) -> list[Received]:
        return await page_on_subject(self.connection, stream.name, subject, after, since_ms, limit)

    def reader(self, stream: Stream, *, after: int) -> JetStreamReader:
        return JetStreamReader(self.connection, stream.name, after)

    def consumer(self, durable: Durable) -> JetStreamConsumer:
        consumer = JetStreamConsumer(self.connection, durable)
        self._consumers.append(consumer)
        return consumer

    def follow(self, stream: Stream, subject: str, *, after: int) -> JetStreamFollower:
        follower = JetStreamFollower(self.connection, stream, subject, after)
        self._consumers.append(follower)
        return follower

    def bucket(self, bucket: Bucket) -> JetStreamKeyValue:
        return JetStreamKeyValue(self.connection, self._publisher, bucket)

    async def request(self, endpoint: Endpoint[Q, R], question: Q, *, timeout_s: float = REQUEST_S) -> R:
        return await serving.ask(self.connection, endpoint, question, timeout_s)

    def serve(
        self, endpoint: Endpoint[Q, R], handler: Handler[Q, R], *, at_once: int = AT_ONCE
    ) -> AbstractAsyncContextManager[None]:
        return serving.serving(self.connection, Responder(endpoint, handler, at_once))

    async def stream_state(self, stream: Stream) -> StreamState:
        return await stream_state(self.connection, stream.name)

    async def durable_state(self, durable: Durable) -> DurableState:
        return await durable_state(self.connection, durable)

    async def problem(self) -> str | None:
        """What keeps the bus from working, as a sentence, or None: the readiness check."""
        if not self.connection.connected.is_set():
            return f"not connected to NATS at {self.connection.url}"
        try:
            missing = await missing_streams(self.connection)
        except Unreachable as error:
            return str(error)
        if missing:
            return f"missing on the server: {', '.join(missing)}; run `tocsin streams apply`"
        return self._publisher.trouble

    async def close(self) -> None:
        for consumer in self._consumers:
            await consumer.close()
        await self._publisher.close()
        await self.connection.close()

    async def _await_streams(self, stop: asyncio.Event) -> None:
        missing = await missing_streams(self.connection)
        deadline = asyncio.get_running_loop().time() + STREAMS_WAIT_S
        if missing:
            log.warning("waiting for the streams; `tocsin streams apply` makes them", missing=missing)
        while missing:
            if stop.is_set() or asyncio.get_running_loop().time() > deadline:
                raise Unreachable(
                    f"NATS at {self.connection.url} has no {', '.join(missing)}; run `tocsin streams apply`"
                )
            await asyncio.sleep(STREAMS_LOOK_S)
            missing = await missing_streams(self.connection)
