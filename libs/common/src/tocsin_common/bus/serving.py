"""Questions and answers: what both buses share, and how they travel over NATS.

An answer is the reply's JSON, or a `Problem` under the header of the NATS service protocol, so that any client can
tell them apart. Whoever answers works on a few questions at a time, lets a few more wait, and refuses the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar

import msgspec
import structlog
from nats.aio.msg import Msg

from tocsin_common import tracing
from tocsin_common.bus.answers import NO_RESPONDERS, status_of
from tocsin_common.bus.connection import Connection, OnMessage
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed, Rejected, Retryable, Unreachable
from tocsin_common.requests import Endpoint

log = structlog.get_logger()

PROBLEM_HEADER = "Nats-Service-Error-Code"
"""Present on answers that are a Problem (NATS ADR-32)."""

MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 4 * 1024 * 1024
"""A page of 10,000 candles is about 1 MiB; the server's limit is 8 MiB."""

AT_ONCE, WAITING_MAX = 4, 64
ANSWER_S = 30.0
"""How long one answer may take; whoever asks has usually left before."""

LOOK_S = 0.25
"""How often it is checked whether the subscription is still that of the current connection."""

MALFORMED, BUSY, TOO_LARGE, TOO_SLOW, UNREACHABLE, INTERNAL = (
    "malformed",
    "busy",
    "too_large",
    "too_slow",
    "unreachable",
    "internal",
)

Q = TypeVar("Q", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

Handler = Callable[[Q], Awaitable[R]]
"""Answers one question. Raises Rejected, Retryable, Unreachable: the asker gets them as Rejected or Retryable."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no reply. `passing`: the same question may be answered later, best after `retry_after_s`."""

    code: str
    message: str
    passing: bool = False
    retry_after_s: float | None = None


class Answer(NamedTuple):
    """What travels back. `problem` is the code of a Problem."""

    data: bytes
    problem: str | None = None


class Responder(Generic[Q, R]):
    """Answers the questions of one endpoint, at most `at_once` at a time; never raises."""

    def __init__(self, endpoint: Endpoint[Q, R], handler: Handler[Q, R], at_once: int) -> None:
        self.endpoint = endpoint
        self._handler = handler
        self._room = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def answer(self, data: bytes) -> Answer:
        """The reply to a request, or the problem with it."""
        if self._waiting >= WAITING_MAX:
            return _as_answer(Problem(code=BUSY, message=f"{WAITING_MAX} questions wait already", passing=True))
        self._waiting += 1
        try:
            async with self._room:
                reply = msgspec.json.encode(await self._handled(data))
        except TimeoutError:
            return _as_answer(Problem(code=TOO_SLOW, message=f"no reply within {ANSWER_S:g} s", passing=True))
        except (Malformed, Rejected, Retryable, Unreachable) as error:
            return _as_answer(_problem_of(error))
        except Exception:
            log.exception("a bug while answering", subject=self.endpoint.subject)
            return _as_answer(Problem(code=INTERNAL, message=f"a mistake in {self.endpoint.group}; see its log"))
        finally:
            self._waiting -= 1
        if len(reply) > MAX_REPLY_BYTES:
            return _as_answer(Problem(code=TOO_LARGE, message=f"a reply of {len(reply)} bytes; ask for less"))
        return Answer(reply)

    async def _handled(self, data: bytes) -> R:
        if len(data) > MAX_REQUEST_BYTES:
            raise Malformed(f"a request of {len(data)} bytes; the limit is {MAX_REQUEST_BYTES}")
        question = decode(data, self.endpoint.request)
        async with asyncio.timeout(ANSWER_S):
            return await self._handler(question)


def encoded(endpoint: Endpoint[Q, R], question: Q) -> bytes:
    """The question as it travels. Raises Rejected when it is too large."""
    data = msgspec.json.encode(question)
    if len(data) > MAX_REQUEST_BYTES:
        raise Rejected(TOO_LARGE, f"{len(data)} bytes to ask {endpoint.subject}, the limit is {MAX_REQUEST_BYTES}")
    return data


def reply_of(endpoint: Endpoint[Q, R], answer: Answer) -> R:
    """The reply in an answer. Raises what its problem stands for: Malformed, Rejected, Retryable."""
    if answer.problem is None:
        return decode(answer.data, endpoint.reply)
    problem = decode(answer.data, Problem)
    if problem.code == MALFORMED:
        raise Malformed(problem.message)
    if problem.passing:
        raise Retryable(problem.code, problem.message, retry_after_s=problem.retry_after_s)
    raise Rejected(problem.code, problem.message)


def nobody(endpoint: Endpoint[Q, R]) -> Unreachable:
    """No service has subscribed to the endpoint."""
    return Unreachable(f"nobody answers {endpoint.subject}; check that {endpoint.group} runs and is ready")


def too_late(endpoint: Endpoint[Q, R], timeout_s: float) -> Unreachable:
    return Unreachable(f"no answer on {endpoint.subject} within {timeout_s:g} s; ask for less, or wait longer")


async def ask(connection: Connection, endpoint: Endpoint[Q, R], question: Q, timeout_s: float) -> R:
    """Ask over NATS. Raises Unreachable, Malformed, Rejected, Retryable."""
    data = encoded(endpoint, question)
    try:
        async with asyncio.timeout(timeout_s):
            await connection.wait_connected(timeout_s)
            headers = {tracing.HEADER: tracing.traceparent()}
            message = await (await connection.post(endpoint.subject, data, headers))
    except TimeoutError as error:
        raise too_late(endpoint, timeout_s) from error
    if status_of(message) == NO_RESPONDERS:
        raise nobody(endpoint)
    return reply_of(endpoint, Answer(message.data, (message.headers or {}).get(PROBLEM_HEADER)))


@asynccontextmanager
async def serving(connection: Connection, responder: Responder[Q, R]) -> AsyncIterator[None]:
    """Answer over NATS inside the context; on leaving it, what is in hand is finished. Raises Unreachable."""
    answers: set[asyncio.Task[None]] = set()

    async def on_message(message: Msg) -> None:
        answering = asyncio.create_task(_answer(connection, responder, message))
        answers.add(answering)
        answering.add_done_callback(answers.discard)

    subscribed = await _Subscribed.to(connection, responder.endpoint.subject, responder.endpoint.group, on_message)
    keeping = asyncio.create_task(subscribed.keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await subscribed.end()
        await asyncio.gather(*answers)


class _Subscribed:
    """A member of a queue group that subscribes again when the connection is made anew. Use `to`."""

    def __init__(self, connection: Connection, subject: str, group: str, on_message: OnMessage) -> None:
        self._connection, self._subject, self._group, self._on_message = connection, subject, group, on_message

    @classmethod
    async def to(cls, connection: Connection, subject: str, group: str, on_message: OnMessage) -> _Subscribed:
        """Subscribed when it returns. Raises Unreachable."""
        subscribed = cls(connection, subject, group, on_message)
        await subscribed._begin()
        return subscribed

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._epoch == self._connection.epoch or not self._connection.connected.is_set():
                continue
            try:
                await self.end()
                await self._begin()
            except Unreachable as error:
                log.warning("not subscribed, trying again", subject=self._subject, error=str(error))

    async def end(self) -> None:
        await self._connection.unsubscribe(self._subscription)

    async def _begin(self) -> None:
        epoch = self._connection.epoch
        self._subscription = await self._connection.subscribe(self._subject, self._on_message, queue=self._group)
        await self._connection.flush()
        self._epoch = epoch


async def _answer(connection: Connection, responder: Responder[Q, R], message: Msg) -> None:
    tracing.follow((message.headers or {}).get(tracing.HEADER, ""))
    answer = await responder.answer(message.data)
    if not message.reply:
        return
    try:
        headers = None if answer.problem is None else {PROBLEM_HEADER: answer.problem}
        await connection.send(message.reply, answer.data, headers=headers)
    except (Unreachable, Rejected) as error:
        log.warning("answer not sent", subject=responder.endpoint.subject, error=str(error))


def _problem_of(error: Malformed | Rejected | Retryable | Unreachable) -> Problem:
    if isinstance(error, Malformed):
        return Problem(code=MALFORMED, message=str(error))
    if isinstance(error, Unreachable):
        return Problem(code=UNREACHABLE, message=str(error), passing=True)
    detail = str(error).removeprefix(f"{error.reason}: ")
    if isinstance(error, Retryable):
        return Problem(code=error.reason, message=detail, passing=True, retry_after_s=error.retry_after_s)
    return Problem(code=error.reason, message=detail)


def _as_answer(problem: Problem) -> Answer:
    return Answer(msgspec.json.encode(problem), problem.code)
