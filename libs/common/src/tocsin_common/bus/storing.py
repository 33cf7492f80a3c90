"""Storing messages in order, each once: atomic batches where many writes are synced, chained windows elsewhere.

In a chained window every message names its predecessor's id (`Nats-Expected-Last-Msg-Id`). When a lost connection or
a new leader loses one, the server refuses the ones after it instead of storing them too early; storing goes on at the
first message without a receipt. Ids that are stored already are receipts, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.nuid import NUID

from tocsin_common.bus.answers import Headers, Refused, parse
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.protocol import Fence, Stored
from tocsin_common.bus.recent import Recent
from tocsin_common.errors import Conflict, Rejected, Unreachable

log = structlog.get_logger()

WINDOW_MESSAGES = 500
"""Messages on their way at once; the server takes at most 1000 in an atomic batch."""

WINDOW_BYTES = 8 * 1024 * 1024
RECEIPTS_S = 10.0
"""How long the receipts of one window may take: 500 synced writes take well below 2 s."""

RECEIPTS_LOOK_S = 0.1
"""How often receipts that have not come are looked for among refusals."""

FEW_MESSAGES = 12
"""Up to here synced writes one after the other take less time than a batch, which costs about five of them."""

PATIENCE_S = 60.0
"""How long a message is retried without any progress before the caller hears Unreachable."""

CONTENDED_S = 1.0
"""How long after a chain was broken every message asks for its receipt: others write the same stream."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.05, 1.0
WRONG_LAST_SEQUENCE, TOO_LARGE = 10071, 10054

_nuid = NUID()


class Outgoing(msgspec.Struct, frozen=True):
    """A message to store. `expected_last`: only if this is the last sequence on its subject. `fence`: only if it
    stands."""

    subject: str
    data: bytes
    message_id: str
    expected_last: int | None = None
    headers: Headers | None = None
    fence: Fence | None = None


class Storage:
    """Stores on one connection. `trouble` says why it is retrying at the moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._recent: Recent[Outgoing] = Recent()
        self._epoch = connection.epoch
        self._restoring = asyncio.Lock()
        self._contended_until_s = 0.0
        self.trouble: str | None = None

    async def store(
        self, stream: str, messages: Sequence[Outgoing], *, atomic: bool = False, remember: bool = False
    ) -> list[Stored]:
        """Store messages of one stream in this order, and wait for every receipt.

        `atomic`: in batches, unless a few messages get through at once without.
        `remember` them for a while, to store them again should a crash of the server lose them after all.
        Raises Unreachable after PATIENCE_S without progress, Conflict for a wrong `expected_last`, Rejected when
        the server will never take a message.
        """
        stored: list[Stored] = []
        deadline, pause_s = time.monotonic() + PATIENCE_S, PAUSE_FIRST_S
        while len(stored) < len(messages):
            window = cut(messages, len(stored))
            try:
                await self._restore()
                few = not stored and len(window) <= FEW_MESSAGES
                receipts = await self._window(stream, window, batch=atomic and not few, by_ends=not atomic)
            except (Unreachable, Refused) as error:
                self._give_up_on(stream, error, deadline)
                await asyncio.sleep(pause_s)
                await self._connection.wait_connected(PAUSE_MAX_S)
                pause_s = min(PAUSE_MAX_S, 2 * pause_s)
            else:
                self.trouble = None
                deadline, pause_s = time.monotonic() + PATIENCE_S, PAUSE_FIRST_S
                stored += receipts
                if remember:
                    for message, receipt in zip(window, receipts, strict=False):
                        self._recent.add(stream, receipt.seq, message.message_id, message, len(message.data))
        return stored

    async def batch(self, stream: str, window: Sequence[Outgoing]) -> list[Stored]:
        """Store all or none with one commit; its receipt has the last sequence, the others are the ones before.

        Raises Refused (a duplicate id among them is enough), Unreachable.
        """
        batch_id = new_id()
        asked: set[str] = set()
        for number, message in enumerate(window, start=1):
            headers = _headers(message, asked)
            headers |= {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
            if number < len(window):
                await self._connection.send(message.subject, message.data, headers=headers)
        headers["Nats-Batch-Commit"] = "1"
        [receipt] = await _receipts([await self._connection.post(message.subject, message.data, headers)])
        if isinstance(receipt, Exception):
            raise receipt
        first = receipt.seq - len(window) + 1
        return [Stored(stream, seq, duplicate=False) for seq in range(first, receipt.seq + 1)]

    async def _restore(self) -> None:
        """When the connection was lost: store again what a crash of the server took with it, before anything else."""
        async with self._restoring:
            epoch = self._connection.epoch
            if self._epoch == epoch:
                return
            for stream, lost in (await self._recent.lost(self._connection)).items():
                log.warning("the server lost what it acknowledged; storing again", stream=stream, messages=len(lost))
                stored = 0
                while stored < len(lost):
                    stored += await self._store_again(stream, cut(lost, stored))
            self._epoch = epoch

    async def _store_again(self, stream: str, window: Sequence[Outgoing]) -> int:
        """How many messages are settled: stored, or the first one refused because a newer writer took its place."""
        try:
            return len(await self._window(stream, window))
        except Refused as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
            log.warning("not stored again: somebody else has written since", subject=window[0].subject)
            return 1

    async def _window(
        self, stream: str, window: Sequence[Outgoing], *, batch: bool = False, by_ends: bool = False
    ) -> list[Stored]:
        """Receipts for the first messages of the window, at least one. Raises what the first is refused for."""
        if batch and len(window) > 1:
            try:
                return await self.batch(stream, window)
            except Refused as error:
                log.debug("no atomic batch, one by one instead", stream=stream, error=str(error))
        if by_ends and len(window) > 2 and time.monotonic() >= self._contended_until_s:
            if stored := await self._by_its_ends(window):
                return stored
            self._contended_until_s = time.monotonic() + CONTENDED_S
        return await self._link_by_link(window)

    async def _by_its_ends(self, window: Sequence[Outgoing]) -> list[Stored]:
        """Store a chain with two receipts; none when they cannot speak for the rest.

        The last message is stored right behind the one before it, that one behind its own, and so on. So when both
        ends are stored now, and as far apart as they are in the window, everything between is there and in order.
        """
        answers: list[asyncio.Future[Msg]] = []
        try:
            for number, (message, headers) in enumerate(_linked(window), start=1):
                if number in (1, len(window)):
                    answers.append(await self._connection.post(message.subject, message.data, headers))
                else:
                    await self._connection.send(message.subject, message.data, headers=headers)
        except BaseException:
            for answer in answers:
                answer.cancel()
            raise
        first, last = await _receipts(answers)
        for receipt in (first, last):
            if isinstance(receipt, Unreachable):
                raise receipt
        if isinstance(first, Exception) or isinstance(last, Exception) or first.duplicate or last.duplicate:
            return []
        if last.seq - first.seq != len(window) - 1:
            return []
        return [Stored(first.stream, seq, duplicate=False) for seq in range(first.seq, last.seq + 1)]

    async def _link_by_link(self, window: Sequence[Outgoing]) -> list[Stored]:
        """Store a chain with a receipt for every message: those before the first refusal."""
        answers: list[asyncio.Future[Msg]] = []
        try:
            for message, headers in _linked(window):
                answers.append(await self._connection.post(message.subject, message.data, headers))
        except Unreachable:
            if not answers:
                raise
        stored: list[Stored] = []
        for receipt in await _receipts(answers):
            if isinstance(receipt, Exception):
                if not stored:
                    raise receipt
                break
            stored.append(receipt)
        return stored

    def _give_up_on(self, stream: str, error: Unreachable | Refused, deadline: float) -> None:
        """Decide whether an error can pass with time; raise what the caller must hear when it cannot."""
        if isinstance(error, Refused):
            if error.code == WRONG_LAST_SEQUENCE:
                raise Conflict(f"{stream}: {error}") from error
            if error.code == TOO_LARGE:
                raise Rejected("too_large", f"{stream}: {error}") from error
        self.trouble = f"storing on {stream} fails: {error}"
        if self._connection.closed or time.monotonic() > deadline:
            raise Unreachable(f"{stream}: not stored after {PATIENCE_S:g} s; {error}") from error
        log.warning("not stored yet, trying again", stream=stream, error=str(error))


def new_id() -> str:
    """A unique id, for what has no cause to derive one from."""
    return bytes(_nuid.next()).decode()


def cut(messages: Sequence[Outgoing], start: int) -> Sequence[Outgoing]:
    """The next window: bounded in messages and bytes, at least one message."""
    size = 0
    for end in range(start, min(len(messages), start + WINDOW_MESSAGES)):
        size += len(messages[end].data)
        if size > WINDOW_BYTES and end > start:
            return messages[start:end]
    return messages[start : start + WINDOW_MESSAGES]


def _linked(window: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, Headers]]:
    """Messages with the headers that chain them."""
    asked: set[str] = set()
    previous = ""
    for message in window:
        headers = _headers(message, asked)
        if previous:
            headers["Nats-Expected-Last-Msg-Id"] = previous
        previous = message.message_id
        yield message, headers


def _headers(message: Outgoing, asked: set[str]) -> Headers:
    """The first message behind a fence asks whether it stands; what is chained to it, or in its batch, cannot come
    between. (A cluster refuses a second message that asks the same while the first one is on its way.)"""
    headers = {"Nats-Msg-Id": message.message_id, **(message.headers or {})}
    if message.expected_last is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(message.expected_last)
    if message.fence is not None and message.fence.subject not in asked:
        asked.add(message.fence.subject)
        headers["Nats-Expected-Last-Subject-Sequence"] = str(message.fence.seq)
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = message.fence.subject
    return headers


async def _receipts(answers: Sequence[asyncio.Future[Msg]]) -> list[Stored | Exception]:
    """What the server said to each message, in order; waits at most RECEIPTS_S for all of them.

    After a refusal the rest is not waited for: what is chained to it is not stored either, and a cluster does not
    even answer all of it.
    """
    deadline, pending = time.monotonic() + RECEIPTS_S, set(answers)
    while pending and time.monotonic() < deadline:
        done, pending = await asyncio.wait(pending, timeout=RECEIPTS_LOOK_S)
        if pending and any(isinstance(_receipt(answer), Exception) for answer in done):
            break
    return [_receipt(answer) for answer in answers]


def _receipt(answer: asyncio.Future[Msg]) -> Stored | Exception:
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
