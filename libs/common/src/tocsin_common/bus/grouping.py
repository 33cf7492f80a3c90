"""Group commit: on synced streams the writes of all callers share their fsyncs.

While one batch is on its way to the disk, what others want stored collects and goes with the next one, so thirty
senders cost one fsync and not thirty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from tocsin_common.bus.answers import Refused
from tocsin_common.bus.protocol import Stored
from tocsin_common.bus.storing import FEW_MESSAGES, WINDOW_BYTES, WINDOW_MESSAGES, Outgoing, Storage
from tocsin_common.errors import Unreachable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Write:
    """What one caller wants stored, and where its receipts go."""

    messages: Sequence[Outgoing]
    receipts: asyncio.Future[list[Stored]]


class GroupCommit:
    """Stores what its callers bring, group by group, stream by stream."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: dict[str, list[_Write]] = {}
        self._committing: dict[str, asyncio.Task[None]] = {}

    async def store(self, stream: str, messages: Sequence[Outgoing]) -> list[Stored]:
        """Store messages in this order, perhaps together with those of others. Raises as `Storage.store`."""
        write = _Write(messages, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(stream, []).append(write)
        if stream not in self._committing:
            self._committing[stream] = asyncio.create_task(self._commit_groups(stream))
        return await write.receipts

    async def close(self) -> None:
        """Nobody waits for what is still on its way."""
        tasks = list(self._committing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _commit_groups(self, stream: str) -> None:
        """Commit what is waiting, group after group, until nothing is."""
        group: list[_Write] = []
        try:
            while waiting := self._waiting.pop(stream, []):
                group, rest = _first_group(waiting)
                if rest:
                    self._waiting[stream] = rest
                await self._commit(stream, group)
        finally:
            del self._committing[stream]
            for write in [*group, *self._waiting.pop(stream, [])]:
                _deliver(write, Unreachable(f"{stream}: the bus was closed before the receipt came"))

    async def _commit(self, stream: str, group: Sequence[_Write]) -> None:
        """Store a group with one commit, or a few single messages side by side. When the server refuses the commit,
        each write finds out alone whose fault it is."""
        few = len(group) <= FEW_MESSAGES and all(len(write.messages) == 1 for write in group)
        if len(group) > 1 and not few:
            try:
                receipts = await self._storage.batch(stream, [message for write in group for message in write.messages])
            except (Refused, Unreachable) as error:
                log.debug("no common batch, each by itself instead", stream=stream, error=str(error))
            else:
                for write in group:
                    _deliver(write, receipts[: len(write.messages)])
                    receipts = receipts[len(write.messages) :]
                return
        await asyncio.gather(*(self._commit_alone(stream, write) for write in group))

    async def _commit_alone(self, stream: str, write: _Write) -> None:
        try:
            _deliver(write, await self._storage.store(stream, write.messages, atomic=True))
        except Exception as error:
            _deliver(write, error)


def _deliver(write: _Write, result: list[Stored] | Exception) -> None:
    """Give a caller its receipts, or its error; one that was cancelled meanwhile wants neither."""
    if write.receipts.done():
        return
    if isinstance(result, Exception):
        write.receipts.set_exception(result)
    else:
        write.receipts.set_result(result)


def _first_group(waiting: list[_Write]) -> tuple[list[_Write], list[_Write]]:
    """The writes that fit into one batch, at least one; and the rest."""
    count = size = 0
    for end, write in enumerate(waiting):
        count += len(write.messages)
        size += sum(len(message.data) for message in write.messages)
        if end and (count > WINDOW_MESSAGES or size > WINDOW_BYTES):
            return waiting[:end], waiting[end:]
    return waiting, []
