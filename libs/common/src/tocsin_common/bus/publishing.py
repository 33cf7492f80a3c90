"""How each stream is written: synced ones in groups, the others remembered for a while, buckets one by one."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin_common.bus.connection import Connection
from tocsin_common.bus.grouping import GroupCommit
from tocsin_common.bus.protocol import Stored
from tocsin_common.bus.reading import next_on_leader
from tocsin_common.bus.storing import Outgoing, Storage
from tocsin_common.errors import Conflict
from tocsin_common.streams import Stream


class Publisher:
    """Publishes on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._storage = Storage(connection)
        self._groups = GroupCommit(self._storage)

    @property
    def trouble(self) -> str | None:
        """Why it is retrying at the moment, or None."""
        return self._storage.trouble

    async def publish(self, stream: Stream, messages: Sequence[Outgoing]) -> list[Stored]:
        """Store messages of one stream in this order, and wait for every receipt. Raises as `Storage.store`."""
        if stream.durability == "sync":
            return await self._groups.store(stream.name, messages)
        return await self._storage.store(stream.name, messages, remember=True)

    async def append(self, stream: Stream, message: Outgoing) -> Stored:
        """Store one message if its `expected_last` holds. Raises Conflict, unless the one who wrote first were we."""
        try:
            [stored] = await self.publish(stream, [message])
        except Conflict as conflict:
            return await self._ours(stream.name, message, conflict)
        return stored

    async def write(self, bucket: str, message: Outgoing) -> Stored:
        """Store one entry of a bucket (given by its stream's name). Raises Conflict as `append` does."""
        try:
            [stored] = await self._storage.store(bucket, [message])
        except Conflict as conflict:
            return await self._ours(bucket, message, conflict)
        return stored

    async def close(self) -> None:
        await self._groups.close()

    async def _ours(self, stream: str, message: Outgoing, conflict: Conflict) -> Stored:
        """The receipt of our own earlier write, when that is what stands in our way; otherwise raise the conflict."""
        written = await next_on_leader(self._connection, stream, (message.expected_last or 0) + 1, message.subject)
        if written is None or written.message_id != message.message_id:
            raise conflict
        return Stored(stream, written.seq, duplicate=True)
