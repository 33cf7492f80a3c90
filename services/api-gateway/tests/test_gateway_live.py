"""The live stream over real HTTP: what happens reaches who listens, and nobody holds anybody up."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from api_gateway import live
from api_gateway.http import stream
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.streams import SIGNALS


@dataclass
class Frame:
    event: str | None
    id: str | None
    data: Any
    comment: str | None


class Listener:
    """Reads one event stream frame by frame."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def frame(self) -> Frame:
        """The next frame, comments included. Raises EOFError at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self.response.content.readline()).decode():
                if line == "\n":
                    data = json.loads(fields["data"]) if "data" in fields else None
                    return Frame(fields.get("event"), fields.get("id"), data, fields.get(""))
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name.rstrip(":") if name.startswith(":") else name] = value
        raise EOFError

    async def event(self) -> Frame:
        """The next real event."""
        while (frame := await self.frame()).event is None:
            continue
        return frame


@asynccontextmanager
async def listen(gateway: Any, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    async with gateway.http.get(
        f"{gateway.url}/api/v1/stream{query}", headers=headers, read_bufsize=1 << 20
    ) as response:
        assert response.status == 200, await response.text()
        listener = Listener(response)
        assert (await listener.frame()).comment == "connected"
        yield listener


@pytest.fixture
async def on_nats(start_gateway: Any, jetstream_bus: JetStreamBus) -> Any:
    return await start_gateway(jetstream_bus, project=False)


async def test_a_published_signal_reaches_every_listener_as_it_was_stored(on_nats: Any, make: Any) -> None:
    await on_nats.bus.publish([make.signal(0)])
    async with listen(on_nats) as one, listen(on_nats, "?types=signals,fills") as two:
        signal = make.signal(1)
        await on_nats.bus.publish([make.opened(), make.equity(2), signal])
        for listener in (one, two):
            frame = await listener.event()
            assert (frame.event, frame.id) == ("signals", "SIGNALS:2")
            assert frame.data["event_id"] == signal.signal_id
            assert frame.data["features"] == signal.features
        assert one.response.content_type == "text/event-stream"


async def test_types_and_symbol_choose_what_comes(reading: Any, make: Any) -> None:
    story = make.story()
    async with (
        listen(reading, "?types=deliveries") as deliveries,
        listen(reading, "?symbol=S1/USDT&types=signals") as symbol,
        listen(reading, "?types=fills,alerts,outcomes") as rest,
    ):
        await reading.bus.publish(story)
        states = [(await deliveries.event()).data["state"] for _ in range(16)]
        assert states.count("queued") == 6
        assert {(await symbol.event()).data["symbol"] for _ in range(4)} == {"S1/USDT"}
        kinds = [(await rest.event()).event for _ in range(5 + 2 + 4)]
        assert sorted(kinds) == ["alerts"] * 2 + ["fills"] * 4 + ["outcomes"] * 5


async def test_a_listener_that_comes_back_gets_exactly_what_it_missed(on_nats: Any, make: Any) -> None:
    await on_nats.bus.publish([make.signal(n) for n in range(5)])
    async with listen(on_nats, "?types=signals", **{"Last-Event-ID": "SIGNALS:2"}) as listener:
        await on_nats.bus.publish([make.signal(9)])
        assert [(await listener.event()).id for _ in range(4)] == [f"SIGNALS:{n}" for n in (3, 4, 5, 6)]


async def test_a_listener_that_missed_too_much_is_told_what(
    reading: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "RESUME_MAX", 2)
    await reading.bus.publish([make.signal(n) for n in range(4)])
    async with listen(reading, **{"Last-Event-ID": "SIGNALS:1"}) as listener:
        frame = await listener.event()
        assert (frame.event, frame.data) == ("missed", {"stream": "SIGNALS", "from_seq": 2, "to_seq": 4})
        await reading.bus.publish([make.signal(5)])
        assert (await listener.event()).id == "SIGNALS:5"


async def test_an_event_id_that_is_none_is_refused(reading: Any) -> None:
    for wrong in ("TRADES:1", "SIGNALS:x", "SIGNALS", "SIGNALS:-1", "SIGNALS:9999999999999999999"):
        status, found = await reading.get("/stream", **{"Last-Event-ID": wrong})
        assert (status, found["errors"][0]["parameter"]) == (422, "Last-Event-ID")


async def test_pings_show_that_the_line_is_alive(reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING_S", 0.05)
    async with listen(reading) as listener:
        assert (await listener.frame()).comment == "ping"


async def test_a_slow_listener_is_cut_off_with_the_reason_and_the_others_are_not(
    reading: Any, make: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUE_EVENTS", 5)
    monkeypatch.setattr(live, "POLL_S", 0.005)
    monkeypatch.setattr(stream, "SEND_TIMEOUT_S", 60)
    padding = ["x" * 400_000]
    slow = await _connect_and_never_read(reading.url)
    await until(lambda: len(reading.hub._clients) == 1)
    async with listen(reading, "?types=signals") as quick:
        for n in range(25):
            await reading.bus.publish([make.signal(n, reasons=padding)])
            assert (await quick.event()).id == f"SIGNALS:{n + 1}"
        await until(lambda: len(reading.hub._clients) == 1)
        assert reading.registry.get_sample_value("tocsin_sse_dropped_total") == 1
        received = await _read_to_end(slow)
    assert b"event: end" in received[-200:]
    assert b"too slow" in received[-200:]


async def test_a_listener_that_takes_nothing_at_all_is_disconnected(
    reading: Any, make: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUE_EVENTS", 20)
    monkeypatch.setattr(stream, "SEND_TIMEOUT_S", 0.2)
    slow = await _connect_and_never_read(reading.url)
    await until(lambda: len(reading.hub._clients) == 1)
    for n in range(15):
        await reading.bus.publish([make.signal(n, reasons=["x" * 1_000_000])])
    await until(lambda: not reading.hub._clients)
    slow.close()


async def test_a_listener_that_leaves_is_forgotten_and_the_reading_stops(reading: Any, until: Any) -> None:
    async with listen(reading), listen(reading):
        assert reading.registry.get_sample_value("tocsin_sse_clients") == 2
        await until(lambda: len(reading.hub._tails) == 5)
    await until(lambda: not reading.hub._clients and not reading.hub._tails)
    assert reading.registry.get_sample_value("tocsin_sse_clients") == 0


async def test_too_many_listeners_are_refused(reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_CLIENTS", 1)
    async with listen(reading):
        status, found = await reading.get("/stream")
        assert (status, found["title"]) == (503, "Service Unavailable")


async def test_a_stop_ends_every_listener_with_the_reason_within_three_seconds(on_nats: Any, make: Any) -> None:
    idle = await _connect_and_never_read(on_nats.url)
    async with listen(on_nats) as listener:
        started = time.monotonic()
        on_nats.stop.set()
        frame = await listener.event()
        assert (frame.event, frame.data) == ("end", {"reason": "the gateway stops"})
        with pytest.raises(EOFError):
            await listener.frame()
        await on_nats.stopped()
        assert time.monotonic() - started < 3
    idle.close()


async def test_malformed_messages_are_passed_over(reading: Any, make: Any) -> None:
    async with listen(reading) as listener:
        log = reading.bus._log(SIGNALS)
        log.messages[1] = live.Received("SIGNALS", "signals.a.b.c.d", 1, 0, "x", b"{")
        log.last_seq = 1
        await reading.bus.publish([make.signal(1)])
        assert (await listener.event()).id == "SIGNALS:2"


async def _connect_and_never_read(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    await loop.sock_sendall(sock, b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock


async def _read_to_end(sock: socket.socket) -> bytes:
    loop, received = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while b"event: end" not in received[-300:]:
            more = await loop.sock_recv(sock, 1 << 20)
            assert more, "closed without a last event"
            received += more
    sock.close()
    return received
