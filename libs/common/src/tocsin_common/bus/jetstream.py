"""The bus on NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

import structlog

from tocsin_common.bus.buckets import JetStreamKeyValue
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import DurableState, Received, Stored, StreamState
from tocsin_common.bus.provision import missing_streams
from tocsin_common.bus.publishing import Publisher
from tocsin_common.bus.pulling import JetStreamConsumer, durable_state
from tocsin_common.bus.reading import JetStreamReader, last_on_leader, stream_state
from tocsin_common.bus.storing import Outgoing
from tocsin_common.config import NatsSection
from tocsin_common.errors import Unreachable
from tocsin_common.events import Event, encode
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

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        stored: list[Stored] = []
        for stream, group in groupby(events, key=lambda event: stream_of(event.subject)):
            messages = [Outgoing(event.subject, encode(event), event.event_id) for event in group]
            stored += await self._publisher.publish(stream, messages)
        return stored

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        message = Outgoing(event.subject, encode(event), event.event_id, expected_last)
        return await self._publisher.append(stream_of(event.subject), message)

    async def last(self, stream: Stream, subject: str) -> Received | None:
        return await last_on_leader(self.connection, stream.name, subject)

    def reader(self, stream: Stream, *, after: int) -> JetStreamReader:
        return JetStreamReader(self.connection, stream.name, after)

    def consumer(self, durable: Durable) -> JetStreamConsumer:
        consumer = JetStreamConsumer(self.connection, durable)
        self._consumers.append(consumer)
        return consumer

    def bucket(self, bucket: Bucket) -> JetStreamKeyValue:
        return JetStreamKeyValue(self.connection, self._publisher, bucket)

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
