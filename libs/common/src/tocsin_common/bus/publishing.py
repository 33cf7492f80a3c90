"""Publishing in order, each message once: atomic batches where decisions are synced, chained windows elsewhere.

On synced streams the writes of all callers commit in groups: while one batch is on its way to the disk, what others
want stored collects and goes with the next one, so thirty senders cost one fsync and not thirty.

In a chained window every message names its predecessor's id (`Nats-Expected-Last-Msg-Id`). When a lost connection or
a new leader loses one, the server refuses the ones after it instead of storing them too early; publishing goes on
at the first message without a receipt. Ids that are stored already are receipts, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from nats.nuid import NUID

from tocsin_common.bus.connection import Connection, Headers, Refused, parse
from tocsin_common.bus.protocol import Stored
from tocsin_common.bus.reading import next_on_leader
from tocsin_common.errors import Conflict, Rejected, Unreachable
from tocsin_common.streams import Stream

log = structlog.get_logger()

WINDOW_MESSAGES = 500
"""Messages on their way at once; the server takes at most 1000 in an atomic batch."""

WINDOW_BYTES = 8 * 1024 * 1024
RECEIPTS_S = 10.0
"""How long the receipts of one window may take: 500 synced writes take well below 2 s."""

PATIENCE_S = 60.0
"""How long a message is retried without any progress before the caller hears Unreachable."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.05, 1.0
WRONG_LAST_SEQUENCE, TOO_LARGE = 10071, 10054

_nuid = NUID()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. `expected_last`: only if this is the last sequence on its subject."""

    subject: str
    data: bytes
    message_id: str
    expected_last: int | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    """What one caller wants stored, and where its receipts go."""

    messages: Sequence[Outgoing]
    receipts: asyncio.Future[list[Stored]]


class Publisher:
    """Publishes on one connection. `trouble` says why it is retrying at the moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, list[_Write]] = {}
        self._committing: dict[str, asyncio.Task[None]] = {}
        self.trouble: str | None = None

    async def publish(self, stream: str, messages: Sequence[Outgoing], *, atomic: bool) -> list[Stored]:
        """Store messages of one stream in this order, and wait for every receipt.

        Raises Unreachable after PATIENCE_S without progress, Conflict for a wrong `expected_last`, Rejected when
        the server will never take a message.
        """
        if not atomic or not messages:
            return await self._alone(stream, messages, atomic=atomic)
        write = _Write(messages, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(stream, []).append(write)
        if stream not in self._committing:
            self._committing[stream] = asyncio.create_task(self._commit_groups(stream))
        return await write.receipts

    async def _commit_groups(self, stream: str) -> None:
        """Commit what is waiting, group after group, until nothing is."""
        try:
            while waiting := self._waiting.pop(stream, []):
                group, self._waiting[stream] = _first_group(waiting)
                if not self._waiting[stream]:
                    del self._waiting[stream]
                await self._commit(stream, group)
        finally:
            del self._committing[stream]

    async def _commit(self, stream: str, group: Sequence[_Write]) -> None:
        """Store a group with one commit. When the server refuses it, each write finds out alone whose fault it is."""
        if len(group) > 1:
            try:
                receipts = await self._batch(stream, [message for write in group for message in write.messages])
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
            _deliver(write, await self._alone(stream, write.messages, atomic=True))
        except Exception as error:
            _deliver(write, error)

    async def _alone(self, stream: str, messages: Sequence[Outgoing], *, atomic: bool) -> list[Stored]:
        """Store one caller's messages, as often as it takes."""
        stored: list[Stored] = []
        deadline, pause_s = time.monotonic() + PATIENCE_S, PAUSE_FIRST_S
        while len(stored) < len(messages):
            try:
                stored += await self._window(stream, _cut(messages, len(stored)), atomic=atomic)
            except (Unreachable, Refused) as error:
                self._give_up_on(stream, error, deadline)
                await self._pause(pause_s)
                pause_s = min(PAUSE_MAX_S, 2 * pause_s)
            else:
                self.trouble = None
                deadline, pause_s = time.monotonic() + PATIENCE_S, PAUSE_FIRST_S
        return stored

    async def append(self, stream: str, message: Outgoing, *, atomic: bool) -> Stored:
        """Store one message if its `expected_last` holds. Raises Conflict, unless the one who wrote first were we."""
        try:
            [stored] = await self.publish(stream, [message], atomic=atomic)
        except Conflict:
            after = (message.expected_last or 0) + 1
            written = await next_on_leader(self._connection, stream, after, message.subject)
            if written is None or written.message_id != message.message_id:
                raise
            return Stored(stream, written.seq, duplicate=True)
        return stored

    async def _window(self, stream: str, window: Sequence[Outgoing], *, atomic: bool) -> list[Stored]:
        """Receipts for the first messages of the window, at least one."""
        if atomic and len(window) > 1:
            try:
                return await self._batch(stream, window)
            except Refused as error:
                log.debug("no atomic batch, one by one instead", stream=stream, error=str(error))
        return await self._chain(stream, window)

    async def _batch(self, stream: str, window: Sequence[Outgoing]) -> list[Stored]:
        """Store all or none with one commit; its receipt has the last sequence, the others are the ones before."""
        batch_id = new_id()
        for number, message in enumerate(window, start=1):
            headers = {**_headers(message), "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
            if number < len(window):
                await self._connection.send(message.subject, message.data, headers=headers)
        headers["Nats-Batch-Commit"] = "1"
        [receipt] = await self._receipts([await self._connection.post(message.subject, message.data, headers)])
        if isinstance(receipt, Exception):
            raise receipt
        first = receipt.seq - len(window) + 1
        return [Stored(stream, seq, duplicate=False) for seq in range(first, receipt.seq + 1)]

    async def _chain(self, stream: str, window: Sequence[Outgoing]) -> list[Stored]:
        answers = []
        previous = ""
        try:
            for message in window:
                headers = _headers(message)
                if previous:
                    headers["Nats-Expected-Last-Msg-Id"] = previous
                answers.append(await self._connection.post(message.subject, message.data, headers))
                previous = message.message_id
        except Unreachable:
            if not answers:
                raise
        receipts = await self._receipts(answers)
        stored: list[Stored] = []
        for receipt in receipts:
            if isinstance(receipt, Exception):
                if not stored:
                    raise receipt
                break
            stored.append(receipt)
        return stored

    async def _receipts(self, answers: Sequence[asyncio.Future]) -> list[Stored | Exception]:  # type: ignore[type-arg]
        """What the server said to each message, in order; waits at most RECEIPTS_S for all of them."""
        await asyncio.wait(answers, timeout=RECEIPTS_S)
        return [_receipt(answer) for answer in answers]

    def _give_up_on(self, stream: str, error: Unreachable | Refused, deadline: float) -> None:
        """Decide whether an error can pass with time; raise what the caller must hear when it cannot."""
        if isinstance(error, Refused):
            if error.code == WRONG_LAST_SEQUENCE:
                raise Conflict(f"{stream}: {error}") from error
            if error.code == TOO_LARGE:
                raise Rejected("too_large", f"{stream}: {error}") from error
        self.trouble = f"publishing to {stream} fails: {error}"
        if time.monotonic() > deadline:
            raise Unreachable(f"{stream}: not stored after {PATIENCE_S:g} s; {error}") from error
        log.warning("not stored yet, trying again", stream=stream, error=str(error))

    async def _pause(self, seconds: float) -> None:
        """Wait a moment, and for the connection if it is lost."""
        await asyncio.sleep(seconds)
        try:
            await asyncio.wait_for(self._connection.connected.wait(), PAUSE_MAX_S)
        except TimeoutError:
            return


def atomic(stream: Stream) -> bool:
    """Whether a stream takes atomic batches: the server offers them only where every write is synced."""
    return stream.durability == "sync"


def new_id() -> str:
    """A unique id, for what has no cause to derive one from."""
    return bytes(_nuid.next()).decode()


def _receipt(answer: asyncio.Future) -> Stored | Exception:  # type: ignore[type-arg]
    if not answer.done():
        answer.cancel()
        return Unreachable(f"no receipt within {RECEIPTS_S:g} s")
    if answer.cancelled():
        return Unreachable("no receipt")
    error = answer.exception()
    if isinstance(error, Exception):
        return error
    try:
        receipt = parse(answer.result())
    except (Refused, Unreachable) as refusal:
        return refusal
    return Stored(receipt["stream"], receipt["seq"], duplicate=receipt.get("duplicate", False))


def _headers(message: Outgoing) -> dict[str, str]:
    headers = {"Nats-Msg-Id": message.message_id, **(message.headers or {})}
    if message.expected_last is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(message.expected_last)
    return headers


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


def _cut(messages: Sequence[Outgoing], start: int) -> Sequence[Outgoing]:
    """The next window: bounded in messages and bytes, at least one message."""
    size = 0
    for end in range(start, min(len(messages), start + WINDOW_MESSAGES)):
        size += len(messages[end].data)
        if size > WINDOW_BYTES and end > start:
            return messages[start:end]
    return messages[start : start + WINDOW_MESSAGES]
