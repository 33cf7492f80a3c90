"""`GET /stream`: live events as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from api_gateway.http.parameters import LiveQuery, described, parse
from api_gateway.http.problems import unavailable, wrong_parameter
from api_gateway.live import LIVE, MESSAGES_PER_STEP, Client, Hub, TooManyClients, live_event
from tocsin_common.bus.protocol import Bus

PING_S = 15.0
SEND_TIMEOUT_S = 10.0
"""A client that takes nothing for this long is disconnected."""

CHUNK_BYTES = 64 * 1024
"""Small events are sent together; a send that is not taken holds no more than this and what the socket buffers."""

RECONNECT_MS = 2_000
RESUME_MAX = 10_000
"""Most messages of a stream read again for a client that comes back; who missed more asks the read API."""

_BY_STREAM = {stream.name: stream for stream in LIVE.values()}


class LiveResponse(StreamingResponse):
    """Ends when a send takes longer than SEND_TIMEOUT_S; however it ends, the client has left the hub."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(message)

        frames = self.body_iterator
        assert isinstance(frames, AsyncGenerator)
        async with aclosing(frames):
            try:
                await super().stream_response(send_in_time)
            except TimeoutError:
                return


def add_routes(router: APIRouter, bus: Bus, hub: Hub) -> None:
    @router.get("/stream", tags=["live"], response_class=LiveResponse, openapi_extra=described(LiveQuery))
    async def live(request: Request, last_event_id: Annotated[str | None, Header(max_length=100)] = None) -> Response:
        """Signals, outcomes, alerts, fills and deliveries as they happen (server-sent events).

        `event` is the type, `data` the event as stored with its `event_id`, `id` is `STREAM:sequence`. Sent back as
        `Last-Event-ID`, that one stream continues exactly after it (up to 10,000 messages, else an event `missed`
        names them); the other streams start with what is new. To resume several types, open one connection each.
        The last event is `end` with the reason when we close: a stop, or a client that reads too slowly.
        """
        query = parse(LiveQuery, request)
        client = Client(_kinds(query.types), query.exchange, query.symbol)
        resume = _resume_from(last_event_id)
        try:
            await hub.join(client)
        except TooManyClients as error:
            raise unavailable(f"{error}; try again later.") from error
        return LiveResponse(_frames(bus, hub, client, resume))


async def _frames(bus: Bus, hub: Hub, client: Client, resume: tuple[str, int] | None) -> AsyncGenerator[bytes, None]:
    try:
        yield format_sse_event(retry=RECONNECT_MS, comment="connected")
        if resume is not None:
            async for frame in _missed(bus, client, *resume):
                yield frame
        while (frames := await _next(client)) is not None:
            yield frames
        data = msgspec.json.encode({"reason": client.end_reason}).decode()
        yield format_sse_event(event="end", data_str=data)
    finally:
        hub.leave(client)


async def _next(client: Client) -> bytes | None:
    """What is queued, up to CHUNK_BYTES, or a ping after PING_S without anything; None at the end."""
    try:
        async with asyncio.timeout(PING_S):
            frame = await client.queue.get()
    except TimeoutError:
        return KEEPALIVE_COMMENT
    chunk = b""
    while frame is not None:
        chunk += frame
        if len(chunk) >= CHUNK_BYTES or client.queue.empty():
            return chunk
        frame = client.queue.get_nowait()
    client.queue.put_nowait(None)  # the end is seen again after what came before it is sent
    return chunk or None


async def _missed(bus: Bus, client: Client, name: str, after: int) -> AsyncIterator[bytes]:
    """What one stream stored between the client's last event and the moment it joined."""
    upto = client.since[name]
    if upto - after > RESUME_MAX:
        lost = {"stream": name, "from_seq": after + 1, "to_seq": upto}
        yield format_sse_event(event="missed", data_str=msgspec.json.encode(lost).decode())
        return
    reader = bus.reader(_BY_STREAM[name], after=after)
    try:
        for step in range(after, upto, MESSAGES_PER_STEP):
            for message in await reader.through(min(step + MESSAGES_PER_STEP, upto)):
                event = live_event(message)
                if event is not None and client.wants(event):
                    yield event.frame
    finally:
        await reader.close()


def _kinds(types: str | None) -> frozenset[str]:
    kinds = frozenset(types.split(",")) if types else frozenset(LIVE)
    if unknown := sorted(kinds - set(LIVE)):
        raise wrong_parameter("types", f"{unknown[0]!r} is none of {', '.join(LIVE)}")
    return kinds


def _resume_from(last_event_id: str | None) -> tuple[str, int] | None:
    if last_event_id is None:
        return None
    name, _, seq = last_event_id.partition(":")
    if name not in _BY_STREAM or not (seq.isascii() and seq.isdecimal()) or len(seq) > 18:
        raise wrong_parameter("Last-Event-ID", "not an event id of this stream")
    return name, int(seq)
