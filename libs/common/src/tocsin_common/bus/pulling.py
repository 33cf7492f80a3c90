"""Consuming a durable: a continuous pull, and the rules that keep order and lose nothing when it breaks.

On a stream a consumer hands every message out once and in stream order. Whenever something may have been lost on
the way (the connection, the server, a gap in the consumer's count) the durable goes back to its acknowledgement
floor, and what comes again is recognised: what is in hand keeps waiting, what was settled is acknowledged again.
On a work queue messages come in any order, and again after the ack wait.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tocsin_common import tracing
from tocsin_common.bus.answers import NO_RESPONDERS, Refused, status_of
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import DurableState, Received
from tocsin_common.errors import Unreachable
from tocsin_common.streams import Durable

log = structlog.get_logger()

HEARTBEAT_S = 1.0
SILENCE_S = 3 * HEARTBEAT_S
"""A pull that hears neither messages nor heartbeats for this long, while somebody listens, is lost."""

EXPIRES_S = 30.0
PULL_BYTES = 32 * 1024 * 1024
PREFETCH_BATCHES = 2
SEEN_MESSAGES = 10_000
"""How many messages back one is recognised by its id: far more than a crash was seen to take."""

ACK, NAK, TERM, IN_PROGRESS = b"+ACK", b"-NAK", b"+TERM", b"+WPI"
NANOSECONDS = 1_000_000_000


class JetStreamConsumer:
    """Implements `Consumer`."""

    def __init__(self, connection: Connection, durable: Durable) -> None:
        self._connection, self._durable = connection, durable
        self._ordered = durable.ordered
        self._pull: _Pull | None = None
        self._created = ""
        self._positioned = False
        self._buffer: deque[Received] = deque()
        self._replies: dict[int, str] = {}
        self._naked: set[int] = set()
        self._last_seen = 0
        self._seen: dict[int, str] = {}
        self._arrived = asyncio.Event()

    async def fetch(self, limit: int, wait_s: float) -> list[Received]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        await self._connection.wait_connected(wait_s)
        while True:
            pull = await self._standing_pull()
            await pull.ask(self._wanted(limit), at_least=limit)
            remaining = deadline - loop.time()
            if self._buffer or remaining <= 0:
                break
            self._arrived.clear()
            wait_now_s = min(remaining, HEARTBEAT_S)
            try:
                await asyncio.wait_for(self._arrived.wait(), wait_now_s)
            except TimeoutError:
                pull.silence_s += wait_now_s
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def ack(self, messages: Sequence[Received]) -> None:
        """Wait until the server took them. If it cannot be told they come again, and are acknowledged again."""
        replies = [reply for message in messages if (reply := self._replies.pop(message.seq, None))]
        for reply in replies[:-1]:
            await self._tell(reply, ACK)
        if replies:
            try:
                await self._connection.request(replies[-1], ACK)
            except Unreachable as error:
                log.debug("perhaps not acknowledged", durable=self._durable.name, error=str(error))

    async def nak(self, message: Received, delay_s: float) -> None:
        self._naked.add(message.seq)
        await self._settle(message, NAK + b" " + json.dumps({"delay": int(delay_s * NANOSECONDS)}).encode())

    async def term(self, message: Received) -> None:
        await self._settle(message, TERM)

    async def in_progress(self, messages: Sequence[Received]) -> None:
        for message in messages:
            if reply := self._replies.get(message.seq):
                await self._tell(reply, IN_PROGRESS)

    async def reset(self, after: int | None = None) -> None:
        await self._stop_pull()
        await self._start_over(after)

    async def close(self) -> None:
        """Give back what was not handed out, and wait until the server has taken every acknowledgement."""
        await self._stop_pull()
        if not self._ordered:
            for message in self._buffer:
                await self.nak(message, 0)
        self._buffer.clear()
        if self._connection.connected.is_set():
            await self._connection.flush()

    def _wanted(self, limit: int) -> int:
        """How many messages may be on their way or buffered: on a queue no more than the caller has room for."""
        target = min(limit * PREFETCH_BATCHES, self._durable.max_ack_pending) if self._ordered else limit
        return target - len(self._buffer)

    async def _standing_pull(self) -> _Pull:
        """The pull, made anew when it was lost. Raises Unreachable."""
        if self._pull is not None and self._pull.lost is not None:
            log.info("pull lost, starting again", durable=self._durable.name, reason=self._pull.lost)
            await self._stop_pull()
            self._positioned = False
        if not self._positioned:
            await self._resume()
        if self._pull is None:
            self._pull = await _Pull.start(self._connection, self._durable, self._on_message, ordered=self._ordered)
        return self._pull

    async def _resume(self) -> None:
        """Take position: at the floor, remembering what we saw, unless this is another durable of the same name."""
        created = (await durable_info(self._connection, self._durable))["created"]
        if self._ordered and created != self._created:
            await self._start_over(None)
        elif self._ordered:
            await reset_durable(self._connection, self._durable, None)
        self._positioned = True

    async def _start_over(self, after: int | None) -> None:
        self._created = (await durable_info(self._connection, self._durable))["created"]
        self._last_seen = await reset_durable(self._connection, self._durable, after)
        self._buffer.clear()
        self._replies.clear()
        self._naked.clear()
        self._seen.clear()
        self._positioned = True

    async def _stop_pull(self) -> None:
        if self._pull is not None:
            await self._pull.stop()
            self._pull = None

    async def _on_message(self, message: Msg, seq: int, stored_ms: int, deliveries: int) -> None:
        headers = message.headers or {}
        message_id = headers.get("Nats-Msg-Id", "")
        if self._ordered and self._seen.get(seq, message_id) != message_id:
            self._forget_from(seq)
        if seq in self._replies:
            self._replies[seq] = message.reply
            return
        if self._ordered and seq <= self._last_seen and seq not in self._naked:
            await self._tell(message.reply, ACK)
            return
        self._naked.discard(seq)
        self._last_seen = max(self._last_seen, seq)
        self._replies[seq] = message.reply
        self._seen[seq] = message_id
        if len(self._seen) > SEEN_MESSAGES:
            del self._seen[next(iter(self._seen))]
        trace = headers.get(tracing.HEADER, "")
        stream = self._durable.stream.name
        self._buffer.append(
            Received(stream, message.subject, seq, stored_ms, message_id, message.data, deliveries, trace)
        )
        self._arrived.set()

    def _forget_from(self, seq: int) -> None:
        """A crash of the server took the end of the stream with it, and its sequences now belong to other messages."""
        log.warning("the stream lost its end; its sequences start again", durable=self._durable.name, seq=seq)
        self._last_seen = seq - 1
        self._seen = {known: message_id for known, message_id in self._seen.items() if known < seq}
        self._replies = {known: reply for known, reply in self._replies.items() if known < seq}
        self._buffer = deque(message for message in self._buffer if message.seq < seq)

    async def _settle(self, message: Received, answer: bytes) -> None:
        if reply := self._replies.pop(message.seq, None):
            await self._tell(reply, answer)

    async def _tell(self, reply: str, answer: bytes) -> None:
        try:
            await self._connection.send(reply, answer)
        except Unreachable as error:
            log.debug("not settled, it will come again", durable=self._durable.name, error=str(error))


class _Pull:
    """One inbox and the requests that fill it. `lost` says why it no longer can be trusted, or is None."""

    def __init__(
        self,
        connection: Connection,
        durable: Durable,
        deliver: Callable[[Msg, int, int, int], Awaitable[None]],
        *,
        ordered: bool,
    ) -> None:
        self._connection, self._deliver, self._ordered = connection, deliver, ordered
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream.name}.{durable.name}"
        self._inbox = connection.new_inbox()
        self._subscription: Subscription | None = None
        self._epoch = connection.epoch
        self._credit = 0
        self._count = 0
        self._broken: str | None = None
        self.silence_s = 0.0

    @classmethod
    async def start(
        cls,
        connection: Connection,
        durable: Durable,
        deliver: Callable[[Msg, int, int, int], Awaitable[None]],
        *,
        ordered: bool,
    ) -> _Pull:
        pull = cls(connection, durable, deliver, ordered=ordered)
        pull._subscription = await connection.subscribe(pull._inbox, pull._on_message)
        return pull

    @property
    def lost(self) -> str | None:
        if self._epoch != self._connection.epoch or not self._connection.connected.is_set():
            return "the connection was lost"
        if self._credit > 0 and self.silence_s > SILENCE_S:
            return f"nothing was heard for {SILENCE_S:g} s"
        return self._broken

    async def ask(self, wanted: int, *, at_least: int) -> None:
        """Ask for as much as brings the credit up to `wanted`, once it has fallen below half of that."""
        missing = wanted - self._credit
        if missing <= 0 or (self._credit >= at_least and missing < wanted // 2):
            return
        if self._credit == 0:
            self.silence_s = 0.0
        request = {
            "batch": missing,
            "max_bytes": PULL_BYTES,
            "expires": int(EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_S * NANOSECONDS),
        }
        self._credit += missing
        await self._connection.send(self._subject, json.dumps(request).encode(), reply=self._inbox)

    async def stop(self) -> None:
        if self._subscription is not None:
            await self._connection.unsubscribe(self._subscription)

    async def _on_message(self, message: Msg) -> None:
        self.silence_s = 0.0
        status = status_of(message)
        if status is not None:
            self._on_status(status, message.headers or {})
            return
        self._credit -= 1
        tokens = message.reply.split(".")
        deliveries, seq, count, time_ns = (int(token) for token in tokens[_FIRST_NUMBER[len(tokens)] :][:4])
        if self._ordered and count != self._count + 1 and self._broken is None:
            self._broken = f"delivery {self._count + 1} is missing"
        self._count = count
        if self._broken is None or not self._ordered:
            await self._deliver(message, seq, time_ns // 1_000_000, deliveries)

    def _on_status(self, status: str, headers: dict[str, str]) -> None:
        if status == "100":
            return
        if status in ("404", "408") or (status == "409" and "Nats-Pending-Messages" in headers):
            self._credit -= int(headers.get("Nats-Pending-Messages", self._credit))
            return
        description = "there is no such durable" if status == NO_RESPONDERS else headers.get("Description", status)
        self._broken = description


_FIRST_NUMBER = {9: 4, 11: 6, 12: 6}
"""Where the numbers begin in an ack subject, by its count of tokens (with a domain there are two more, or three)."""


async def durable_info(connection: Connection, durable: Durable) -> dict:  # type: ignore[type-arg]
    """What the server knows of a durable. Raises Unreachable when it does not know it."""
    try:
        return await connection.api(f"CONSUMER.INFO.{durable.stream.name}.{durable.name}")
    except Refused as error:
        raise Unreachable(
            f"the durable {durable.name} on {durable.stream.name} does not exist on the server;"
            " run `tocsin streams apply`"
        ) from error


async def durable_state(connection: Connection, durable: Durable) -> DurableState:
    info = await durable_info(connection, durable)
    return DurableState(info["num_pending"], info["num_ack_pending"], info["ack_floor"]["stream_seq"])


async def reset_durable(connection: Connection, durable: Durable, after: int | None) -> int:
    """Go back to just after `after`, or to the acknowledgement floor; returns the sequence it stands after.

    The server does not answer for a durable it does not know, so ask `durable_info` first.
    """
    body = None if after is None else {"seq": after + 1}
    try:
        answer = await connection.api(f"CONSUMER.RESET.{durable.stream.name}.{durable.name}", body)
    except Refused as error:
        raise Unreachable(f"the durable {durable.name} cannot go back to {after}: {error}") from error
    return int(answer["reset_seq"]) - 1
