"""The live stream's source: one reader per stream for all clients together, and a bounded queue per client.

Nothing is read while nobody listens. While somebody does, the ends of the streams are looked at every POLL_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import structlog
from fastapi.sse import format_sse_event

from api_gateway.metrics import Metrics
from api_gateway.stopping import until_stopped
from tocsin_common.bus.protocol import Bus, Reader, Received
from tocsin_common.errors import Malformed, TocsinError, Unreachable
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    DeliveryChanged,
    OrderFilled,
    OutcomeMeasured,
    SignalRaised,
)
from tocsin_common.streams import ALERTS, DELIVERIES, OUTCOMES, PAPER, SIGNALS, Stream

log = structlog.get_logger()

POLL_S = 0.1
RETRY_S = 1.0
MESSAGES_PER_STEP = 200
QUEUE_EVENTS = 1_000
"""A client that is this far behind is disconnected; it can come back with its last event id."""

MAX_CLIENTS = 200

LIVE: dict[str, Stream] = {
    "signals": SIGNALS,
    "outcomes": OUTCOMES,
    "alerts": ALERTS,
    "fills": PAPER,
    "deliveries": DELIVERIES,
}
"""What can be listened to, by the name clients use, and the stream it is read from."""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event as clients get it; `exchange` and `symbol` are None where it names none."""

    kind: str
    seq: int
    exchange: str | None
    symbol: str | None
    frame: bytes


class TooManyClients(TocsinError):
    """The live stream has MAX_CLIENTS clients already."""


@dataclass(eq=False)
class Client:
    """One listener. `end_reason` says why its queue ends; None while it is connected."""

    kinds: frozenset[str]
    exchange: str | None
    symbol: str | None
    since: dict[str, int] = field(default_factory=dict)
    end_reason: str | None = None
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_EVENTS + 1))

    def wants(self, event: LiveEvent) -> bool:
        return (
            event.kind in self.kinds and self.exchange in (None, event.exchange) and self.symbol in (None, event.symbol)
        )

    def end(self, reason: str) -> None:
        """Nothing more comes after what is queued."""
        self.end_reason = reason
        self.queue.put_nowait(None)


@dataclass
class _Tail:
    """Where the shared reading of one stream stands."""

    stream: Stream
    reader: Reader
    position: int
    identity: str


class Hub:
    """Fans the live streams out to clients."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus, self._metrics = bus, metrics
        self._clients: set[Client] = set()
        self._tails: dict[str, _Tail] = {}
        self._opening = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._stopped = False

    async def join(self, client: Client) -> None:
        """Add a client: every event stored from now on reaches its queue, those up to `client.since` do not.

        Raises TooManyClients, or Unreachable when the streams' ends cannot be found.
        """
        if len(self._clients) >= MAX_CLIENTS:
            raise TooManyClients(f"the live stream has {MAX_CLIENTS} clients already")
        async with self._opening:
            if not self._tails:
                self._tails = {stream.name: await self._open(stream) for stream in LIVE.values()}
            client.since = {name: tail.position for name, tail in self._tails.items()}
            self._clients.add(client)
            self._wanted.set()
        if self._stopped:
            client.end("the gateway stops")
        self._metrics.sse_clients.set(len(self._clients))

    def leave(self, client: Client) -> None:
        self._clients.discard(client)
        self._metrics.sse_clients.set(len(self._clients))

    async def run(self, stop: asyncio.Event) -> None:
        """Read and fan out until `stop`; then every client's queue ends, whatever the bus is doing."""
        await until_stopped(self._read(), stop)
        self._stopped = True
        for client in list(self._clients):
            self._end(client, "the gateway stops")
        await self._close()

    async def _read(self) -> None:
        while True:
            if not self._clients:
                self._wanted.clear()  # before looking again: who joins meanwhile sets it
                await self._close()
                await self._wanted.wait()
            if not await self._step():
                await asyncio.sleep(POLL_S)

    async def _step(self) -> bool:
        """Fan out what is new on every stream; True when there may be more already."""
        more = False
        for tail in list(self._tails.values()):
            try:
                more |= await self._advance(tail)
            except Unreachable as error:
                log.warning("the live stream waits", stream=tail.stream.name, error=str(error))
                await asyncio.sleep(RETRY_S)
        return more

    async def _advance(self, tail: _Tail) -> bool:
        state = await self._bus.stream_state(tail.stream)
        if state.identity != tail.identity:
            await tail.reader.close()
            tail.reader, tail.position, tail.identity = self._bus.reader(tail.stream, after=0), 0, state.identity
        if state.last_seq <= tail.position:
            return False
        upto = min(state.last_seq, tail.position + MESSAGES_PER_STEP)
        messages = await tail.reader.through(upto)
        self.fan_out(live_event(message) for message in messages)
        tail.position = upto
        return upto < state.last_seq

    def fan_out(self, events: Iterable[LiveEvent | None]) -> None:
        """Queue events to the clients that want them; who cannot keep up is cut off."""
        for event in events:
            if event is None:
                continue
            for client in list(self._clients):
                if client.wants(event):
                    self._queue(client, event)

    def _queue(self, client: Client, event: LiveEvent) -> None:
        if client.queue.qsize() >= QUEUE_EVENTS:
            self._metrics.sse_dropped.inc()
            log.info("live client dropped", reason="too slow", queued=client.queue.qsize())
            return self._end(client, "too slow: events were waiting that are not sent any more")
        client.queue.put_nowait(event.frame)
        self._metrics.sse_sent.labels(event.kind).inc()
        return None

    def _end(self, client: Client, reason: str) -> None:
        self.leave(client)
        client.end(reason)

    async def _open(self, stream: Stream) -> _Tail:
        state = await self._bus.stream_state(stream)
        return _Tail(stream, self._bus.reader(stream, after=state.last_seq), state.last_seq, state.identity)

    async def _close(self) -> None:
        async with self._opening:
            if not self._clients:
                for tail in self._tails.values():
                    await tail.reader.close()
                self._tails = {}


def live_event(message: Received) -> LiveEvent | None:
    """A stored message as clients get it; None for what is not offered live."""
    try:
        event = message.event()
    except Malformed:
        return None
    match event:
        case SignalRaised():
            return _live("signals", message, event.exchange, event.symbol)
        case OutcomeMeasured():
            return _live("outcomes", message, event.exchange, event.symbol)
        case OrderFilled():
            return _live("fills", message, event.exchange, event.symbol)
        case AlertRaised():
            return _live("alerts", message, event.exchange, event.symbol)
        case AlertSuppressed():
            return _live("alerts", message, None, None)
        case DeliveryChanged():
            return _live("deliveries", message, None, None)
    return None


def _live(kind: str, message: Received, exchange: str | None, symbol: str | None) -> LiveEvent:
    """The event's own JSON with its id put in front (a signal's event id is the signal's id)."""
    data = b'{"event_id":' + msgspec.json.encode(message.message_id) + b"," + message.data[1:]
    frame = format_sse_event(data_str=data.decode(), event=kind, id=f"{message.stream}:{message.seq}")
    return LiveEvent(kind, message.seq, exchange, symbol, frame)
