"""Reading a stream from a position the reader owns: pages by direct get, so the server keeps nothing for us.

Whatever is lost on the way (a page, the connection, the server) is simply asked for again.
"""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg

from tocsin_common import tracing
from tocsin_common.bus.answers import NO_RESPONDERS, Headers, Refused
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import PAGE_MESSAGES, Received, StreamState
from tocsin_common.errors import Unreachable
from tocsin_common.subjects import FENCE

PAGE_BYTES = 16 * 1024 * 1024
TRIES = 5
"""How often a page is asked for before the caller hears Unreachable."""

RECONNECT_S = 2.0
"""How long each try waits for a lost connection to come back."""

LAG_PAUSE_S, LAG_PAUSES = 0.02, 250
END_OF_BATCH, NOT_FOUND = "204", "404"
NO_MESSAGE = 10037


class JetStreamReader:
    """Implements `Reader`."""

    def __init__(self, connection: Connection, stream: str, after: int) -> None:
        self._connection, self._stream, self._after = connection, stream, after

    async def through(self, seq: int) -> list[Received]:
        before = self._after
        try:
            return await self._pages_through(seq)
        except BaseException:
            self._after = before  # the pages read so far were not returned: the next call reads them again
            raise

    async def _pages_through(self, seq: int) -> list[Received]:
        found: list[Received] = []
        lagging = 0
        while self._after < seq:
            wanted = min(PAGE_MESSAGES, seq - self._after)
            page = await read_page(self._connection, self._stream, self._after, wanted)
            inside = [message for message in page if message.seq <= seq]
            found += (message for message in inside if not message.subject.startswith(FENCE))
            if len(inside) < len(page):
                self._after = seq
            elif inside:
                self._after = inside[-1].seq
            elif await self._is_over(seq):
                break
            else:
                lagging += 1
                await self._wait_for_copy(lagging)
        return found

    async def close(self) -> None:
        """Nothing to close: the server knows nothing of us."""

    async def _is_over(self, seq: int) -> bool:
        """After an empty page: whether nothing follows up to `seq`. Pages may come from a copy, so ask the leader."""
        following = await next_on_leader(self._connection, self._stream, self._after + 1, ">")
        if following is not None and following.seq <= seq:
            return False
        end = await stream_state(self._connection, self._stream)
        self._after = max(self._after, min(seq, end.last_seq))
        return True

    async def _wait_for_copy(self, times: int) -> None:
        if times > LAG_PAUSES:
            raise _stays_behind(self._stream)
        await asyncio.sleep(LAG_PAUSE_S)


async def read_page(connection: Connection, stream: str, after: int, limit: int) -> list[Received]:
    """Up to `limit` messages with sequences above `after`. Raises Unreachable."""
    return [_received(stream, message) for message in await raw_page(connection, stream, after, limit)]


async def raw_page(connection: Connection, stream: str, after: int, limit: int) -> list[Msg]:
    """As `read_page`, with all headers. A page that got lost is asked for again, a few times."""
    return await _paged(connection, stream, {"seq": after + 1, "batch": limit})


async def page_on_subject(
    connection: Connection, stream: str, subject: str, after: int, since_ms: int, limit: int
) -> list[Received]:
    """The first messages on a stored subject above a sequence, or stored since a time. Raises Unreachable."""
    start: dict[str, Any] = {"start_time": _time(since_ms)} if since_ms else {"seq": after + 1}
    request = {**start, "next_by_subj": subject, "batch": limit}
    for _ in range(LAG_PAUSES):
        messages = await _paged(connection, stream, request)
        newest = None if messages else await last_on_leader(connection, stream, subject)
        if newest is None or newest.seq <= after or newest.stored_ms < since_ms:
            return [_received(stream, message) for message in messages]
        await asyncio.sleep(LAG_PAUSE_S)  # a copy answered that lacks what its leader has
    raise _stays_behind(stream)


async def _paged(connection: Connection, stream: str, what: dict[str, Any]) -> list[Msg]:
    request = json.dumps({**what, "max_bytes": PAGE_BYTES}).encode()
    for attempt in range(1, TRIES + 1):
        try:
            messages, status = await connection.collect(f"$JS.API.DIRECT.GET.{stream}", request)
        except Unreachable:
            if attempt == TRIES:
                raise
            await connection.wait_connected(RECONNECT_S)
            continue
        if status == NO_RESPONDERS:
            raise missing(stream)
        if status not in (END_OF_BATCH, NOT_FOUND):
            break
        return messages
    raise Unreachable(f"NATS at {connection.url}: reading {stream} from {what} ended with status {status}")


async def last_on_leader(connection: Connection, stream: str, subject: str) -> Received | None:
    """The newest message on a subject (wildcards allowed), as the stream's leader knows it."""
    found = await get_message(connection, stream, {"last_by_subj": subject})
    return found[0] if found else None


async def next_on_leader(connection: Connection, stream: str, seq: int, subject: str) -> Received | None:
    """The first message on a subject at or after a sequence, as the stream's leader knows it."""
    found = await get_message(connection, stream, {"seq": seq, "next_by_subj": subject})
    return found[0] if found else None


async def get_message(connection: Connection, stream: str, what: dict[str, Any]) -> tuple[Received, Headers] | None:
    """One message with its headers, from the stream's leader. Raises Unreachable."""
    try:
        message = (await connection.api(f"STREAM.MSG.GET.{stream}", what))["message"]
    except Refused as error:
        if error.code == NO_MESSAGE:
            return None
        raise missing(stream) from error
    headers = _headers(base64.b64decode(message.get("hdrs", "")))
    received = Received(
        stream=stream,
        subject=message["subject"],
        seq=message["seq"],
        stored_ms=time_ms(message["time"]),
        message_id=headers.get("Nats-Msg-Id", ""),
        data=base64.b64decode(message.get("data", "")),
        traceparent=headers.get(tracing.HEADER, ""),
    )
    return received, headers


async def stream_state(connection: Connection, stream: str) -> StreamState:
    """Raises Unreachable when the stream does not exist."""
    try:
        info = await connection.api(f"STREAM.INFO.{stream}")
    except Refused as error:
        raise missing(stream) from error
    state = info["state"]
    return StreamState(state["messages"], state["first_seq"], state["last_seq"], info["created"], state["bytes"])


def missing(stream: str) -> Unreachable:
    return Unreachable(f"the stream {stream} does not exist on the server; run `tocsin streams apply`")


def _stays_behind(stream: str) -> Unreachable:
    return Unreachable(f"a copy of {stream} stays behind its leader; check the health of the cluster")


def _received(stream: str, message: Msg) -> Received:
    headers = message.headers or {}
    return Received(
        stream=stream,
        subject=headers["Nats-Subject"],
        seq=int(headers["Nats-Sequence"]),
        stored_ms=time_ms(headers["Nats-Time-Stamp"]),
        message_id=headers.get("Nats-Msg-Id", ""),
        data=message.data,
        traceparent=headers.get(tracing.HEADER, ""),
    )


def _headers(block: bytes) -> Headers:
    lines = (line.partition(":") for line in block.decode(errors="replace").split("\r\n")[1:])
    return {name: value.strip() for name, _, value in lines if name}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def time_ms(time: str) -> int:
    """A time as the server writes it, ms."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)
