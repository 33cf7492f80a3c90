"""Following a subject: for readers who own their position, and of whom each wants every message as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tocsin_common.bus.answers import Refused
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import Received
from tocsin_common.bus.pulling import NANOSECONDS, JetStreamConsumer
from tocsin_common.bus.reading import missing
from tocsin_common.bus.storing import new_id
from tocsin_common.streams import Durable, Stream

INACTIVE_S = 60
"""The server forgets a follower that has not asked for this long."""


class JetStreamFollower(JetStreamConsumer):
    """Implements `Consumer` for `Bus.follow`.

    Behind it is a consumer that the server keeps in memory. It is made anew, from where we stand, whenever something
    may have been lost; what comes again is recognised, as ever.
    """

    def __init__(self, connection: Connection, stream: Stream, subject: str, after: int) -> None:
        super().__init__(connection, Durable("follower", stream, subject))
        self._last_seen = after

    async def ack(self, messages: Sequence[Received]) -> None:
        for message in messages:
            self._replies.pop(message.seq, None)

    async def reset(self, after: int | None = None) -> None:
        await self._stop_pull()
        for known in (self._buffer, self._replies, self._naked, self._seen):
            known.clear()
        self._last_seen = self._last_seen if after is None else after
        self._positioned = False

    async def _resume(self) -> None:
        self._durable = replace(self._durable, name=f"follower-{new_id()}")
        config = {
            "name": self._durable.name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": min(self._seen, default=self._last_seen + 1),
            "ack_policy": "none",
            "filter_subject": self._durable.filter,
            "inactive_threshold": INACTIVE_S * NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        stream = self._durable.stream.name
        try:
            await self._connection.api(
                f"CONSUMER.CREATE.{stream}.{self._durable.name}", {"stream_name": stream, "config": config}
            )
        except Refused as error:
            raise missing(stream) from error
        self._positioned = True
