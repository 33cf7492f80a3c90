"""Key-value buckets: each a stream of one message per write, in the layout every NATS client knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog
from nats.aio.msg import Msg

from tocsin_common.bus.answers import Headers
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import PAGE_MESSAGES, Entry
from tocsin_common.bus.publishing import Publisher
from tocsin_common.bus.reading import get_message, raw_page, time_ms
from tocsin_common.bus.storing import Outgoing, new_id
from tocsin_common.errors import Conflict, Unreachable
from tocsin_common.streams import Bucket

log = structlog.get_logger()

OPERATION = "KV-Operation"
TTL = "Nats-TTL"
NOTE = "Tocsin-Note"
DELETED_TTL_S = 60
"""How long a bucket whose entries expire remembers that a key was deleted."""

LOOK_SOON_S, LOOK_AT_LEAST_S = 0.01, 2.0
"""A watch looks soon after it saw a write pass by, and at least this often, should it have missed one."""


class JetStreamKeyValue:
    """Implements `KeyValue`."""

    def __init__(self, connection: Connection, publisher: Publisher, bucket: Bucket) -> None:
        self._connection, self._publisher, self._bucket = connection, publisher, bucket
        self._stream, self._prefix = stream_name(bucket), f"$KV.{bucket.name}."

    async def get(self, key: str) -> Entry | None:
        entry = await self._last(key)
        return entry if entry and entry.value is not None else None

    async def put(self, key: str, value: bytes) -> int:
        return await self._write(key, value)

    async def create(self, key: str, value: bytes, *, ttl_s: int | None = None, note: str = "") -> int:
        last = await self._last(key)
        if last is not None and last.value is not None:
            raise Conflict(f"{self._bucket.name}: the key {key!r} exists already")
        return await self._write(key, value, expected=last.revision if last else 0, headers=_said(ttl_s, note))

    async def update(self, key: str, value: bytes, revision: int, *, ttl_s: int | None = None, note: str = "") -> int:
        return await self._write(key, value, expected=revision, headers=_said(ttl_s, note))

    async def delete(self, key: str, *, revision: int | None = None, note: str = "") -> int:
        said = _said(DELETED_TTL_S if self._bucket.expires else None, note)
        return await self._write(key, b"", expected=revision, headers={OPERATION: "DEL", **said})

    async def all(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in _latest(await self._changes(0)) if entry.value is not None}

    async def history(self, *, after: int) -> list[Entry]:
        return await self._changes(after)

    async def watch(self) -> AsyncIterator[Entry]:
        wake = asyncio.Event()

        async def on_write(_message: Msg) -> None:
            wake.set()

        subscription = await self._connection.subscribe(f"{self._prefix}>", on_write)
        try:
            history = await self._changes_surely(0)
            for entry in _latest(history):
                if entry.value is not None:
                    yield entry
            position, pause_s = history[-1].revision if history else 0, LOOK_SOON_S
            while True:
                changes = await self._changes_surely(position)
                for entry in changes:
                    position = entry.revision
                    yield entry
                if not changes:
                    pause_s = LOOK_SOON_S if await _woken(wake, pause_s) else min(2 * pause_s, LOOK_AT_LEAST_S)
        finally:
            await self._connection.unsubscribe(subscription)

    async def _last(self, key: str) -> Entry | None:
        """The newest entry of a key, which may say that it was deleted."""
        found = await get_message(self._connection, self._stream, {"last_by_subj": self._prefix + key})
        if found is None:
            return None
        message, headers = found
        value = None if OPERATION in headers else message.data
        return Entry(key, value, message.seq, headers.get(NOTE, ""), message.stored_ms)

    async def _changes(self, after: int) -> list[Entry]:
        """Every entry written after a revision that is still kept, oldest first."""
        entries: list[Entry] = []
        while page := await raw_page(self._connection, self._stream, after, PAGE_MESSAGES):
            entries += [self._entry(message) for message in page]
            after = entries[-1].revision
            if (page[-1].headers or {}).get("Nats-Num-Pending") == "0":
                break
        return entries

    async def _changes_surely(self, after: int) -> list[Entry]:
        while True:
            try:
                return await self._changes(after)
            except Unreachable as error:
                log.warning("watch interrupted, trying again", bucket=self._bucket.name, error=str(error))
                await asyncio.sleep(LOOK_AT_LEAST_S)

    def _entry(self, message: Msg) -> Entry:
        headers = message.headers or {}
        key = headers["Nats-Subject"].removeprefix(self._prefix)
        value = None if OPERATION in headers else message.data
        written = int(headers["Nats-Sequence"]), headers.get(NOTE, ""), time_ms(headers["Nats-Time-Stamp"])
        return Entry(key, value, *written)

    async def _write(
        self, key: str, value: bytes, *, expected: int | None = None, headers: Headers | None = None
    ) -> int:
        """Write one message. Its id is drawn for this call: only its own retries are duplicates."""
        message = Outgoing(self._prefix + key, value, new_id(), expected, headers)
        return (await self._publisher.write(self._stream, message)).seq


def stream_name(bucket: Bucket) -> str:
    """The stream behind a bucket, as every NATS client names it."""
    return f"KV_{bucket.name}"


def _said(ttl_s: int | None, note: str) -> Headers:
    lifetime = {} if ttl_s is None else {TTL: f"{ttl_s}s"}
    return {**lifetime, NOTE: note} if note else lifetime


def _latest(entries: list[Entry]) -> list[Entry]:
    latest = {entry.key: entry for entry in entries}
    return sorted(latest.values(), key=lambda entry: entry.revision)


async def _woken(wake: asyncio.Event, wait_s: float) -> bool:
    try:
        await asyncio.wait_for(wake.wait(), wait_s)
    except TimeoutError:
        return False
    wake.clear()
    return True
