"""One connection to NATS: dialled until it stands, made anew whenever it is lost, every wait bounded.

Everything else of the JetStream bus is built from three things it offers: `request` (one answer), `collect` (many
answers, ended by a status) and `subscribe`. nats-py's own exceptions and its endless buffering stop here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tocsin_common.bus.answers import MISSING, NO_RESPONDERS, Headers, parse, status_of
from tocsin_common.bus.client import Client
from tocsin_common.config import NatsSection
from tocsin_common.errors import Rejected, Unreachable

log = structlog.get_logger()

CONNECT_S = 30.0
"""How long a starting service waits for the server before it gives up and says so."""

REQUEST_S = 5.0
"""How long one answer may take; an elected leader of a replicated stream is back after 4 to 9 s, by retrying."""

RECONNECT_WAIT_S = 0.25
PING_INTERVAL_S, PINGS_OUTSTANDING = 5, 2
NO_ANSWER = "no answer"
REMEDY = "check that the server runs and that nats.url, nats.user and the other keys of `nats` are right"

OnMessage = Callable[[Msg], Awaitable[None]]
Answer = Callable[[Msg | Unreachable], None]


class Connection:
    """Use `open`. `epoch` counts how often the connection was made: what belongs to an older epoch is lost."""

    def __init__(self, section: NatsSection, name: str) -> None:
        self.url = without_credentials(section.url)
        self.epoch = 0
        self.connected = asyncio.Event()
        self._section, self._name = section, name
        self._client = Client()
        self._inbox = ""
        self._tokens = itertools.count(1)
        self._waiting: dict[str, Answer] = {}
        self._closing = False
        self._last_error = NO_ANSWER
        self._reopening: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, section: NatsSection, *, name: str, stop: asyncio.Event | None = None, within_s: float = CONNECT_S
    ) -> Connection:
        """Dial until the server answers. Raises Unreachable after `within_s`, or at once when `stop` is set."""
        connection = cls(section, name)
        dialling = asyncio.ensure_future(connection._dial())
        stopping = asyncio.ensure_future((stop or asyncio.Event()).wait())
        started = time.monotonic()
        try:
            await asyncio.wait({dialling, stopping}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if not dialling.done():
                waited = f"tried for {time.monotonic() - started:.0f} s, last error: {connection._last_error}"
                raise Unreachable(f"NATS at {connection.url} cannot be reached ({waited}); {REMEDY}")
            await dialling
        except BaseException:
            dialling.cancel()
            await connection.close()
            raise
        finally:
            stopping.cancel()
        return connection

    @property
    def closed(self) -> bool:
        """Whether `close` was called: what fails now will never succeed."""
        return self._closing

    async def close(self) -> None:
        """Send what is pending and leave."""
        self._closing = True
        if self._reopening is not None:
            self._reopening.cancel()
        if self.connected.is_set():
            await self.flush()
        await self._client.close()
        self._lose("the connection is closed")

    @property
    def server_version(self) -> tuple[int, int, int]:
        """Version of the server we are connected to."""
        version = self._client.connected_server_version
        return version.major, version.minor, version.patch

    async def wait_connected(self, wait_s: float) -> None:
        """Wait for a lost connection to come back, at most `wait_s`; returns at once when it stands."""
        try:
            await asyncio.wait_for(self.connected.wait(), wait_s)
        except TimeoutError:
            return

    async def flush(self) -> None:
        """Wait until the server has taken what was sent; a server that stays away is no error here."""
        try:
            await self._client.flush(int(REQUEST_S))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("not flushed", nats=self.url, error=str(error))

    async def send(self, subject: str, data: bytes = b"", *, reply: str = "", headers: Headers | None = None) -> None:
        """Send without an answer. Raises Unreachable when not connected, Rejected when the server's limit is passed."""
        if not self.connected.is_set():
            raise self._unreachable()
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except nats.errors.MaxPayloadError as error:
            detail = f"{len(data)} bytes on {subject}, the server takes {self._client.max_payload}"
            raise Rejected("too_large", detail) from error
        except (nats.errors.Error, OSError) as error:
            raise self._unreachable(str(error)) from error

    async def post(self, subject: str, data: bytes = b"", headers: Headers | None = None) -> asyncio.Future[Msg]:
        """Send, and return the future of the answer; it fails with Unreachable when the connection is lost.

        Whoever posts must bound its waiting, and cancel what it no longer waits for.
        """
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        token = str(next(self._tokens))

        def answer(message: Msg | Unreachable) -> None:
            if future.done():
                return
            if isinstance(message, Unreachable):
                future.set_exception(message)
            else:
                future.set_result(message)

        self._expect(token, answer, future)
        try:
            await self.send(subject, data, reply=f"{self._inbox}.{token}", headers=headers)
        except BaseException:
            future.cancel()
            raise
        return future

    async def request(self, subject: str, data: bytes = b"", headers: Headers | None = None) -> Msg:
        """Send and wait for the answer. Raises Unreachable when none comes within REQUEST_S."""
        future = await self.post(subject, data, headers)
        try:
            async with asyncio.timeout(REQUEST_S):
                message = await future
        except TimeoutError as error:
            raise self._unreachable(f"no answer on {subject} within {REQUEST_S:g} s") from error
        if status_of(message) == NO_RESPONDERS:
            raise Unreachable(f"NATS at {self.url} has nobody to answer {subject}: {MISSING}")
        return message

    async def api(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the JetStream API. Raises Refused with the server's error, Unreachable without an answer."""
        data = b"" if body is None else json.dumps(body).encode()
        return parse(await self.request(f"$JS.API.{path}", data))

    async def collect(self, subject: str, data: bytes) -> tuple[list[Msg], str]:
        """Send and gather the answers until a status ends them: (answers, status). Raises Unreachable."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        answers: list[Msg] = []
        token = str(next(self._tokens))

        def gather(message: Msg | Unreachable) -> None:
            if ended.done():
                return
            if isinstance(message, Unreachable):
                ended.set_exception(message)
            elif (status := status_of(message)) is None:
                answers.append(message)
            else:
                ended.set_result(status)

        self._expect(token, gather, ended)
        try:
            await self.send(subject, data, reply=f"{self._inbox}.{token}")
            async with asyncio.timeout(REQUEST_S):
                return answers, await ended
        except TimeoutError as error:
            raise self._unreachable(f"no complete answer on {subject} within {REQUEST_S:g} s") from error
        finally:
            ended.cancel()

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> Subscription:
        """Subscribe for this epoch; of a `queue` group only one member gets each message. Raises Unreachable."""
        try:
            return await self._client.subscribe(subject, queue, on_message, pending_bytes_limit=0)
        except (nats.errors.Error, OSError) as error:
            raise self._unreachable(str(error)) from error

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription, also one of an epoch that is gone."""
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError):
            log.debug("the subscription was gone already", subject=subscription.subject)

    def new_inbox(self) -> str:
        """A subject that nobody else listens to."""
        return str(self._client.new_inbox())

    def _expect(self, token: str, answer: Answer, future: asyncio.Future[Any]) -> None:
        """Route the answers for a token until its future is done, and never complain that nobody asked for it."""

        def forget(future: asyncio.Future[Any]) -> None:
            self._waiting.pop(token, None)
            if not future.cancelled():
                future.exception()

        self._waiting[token] = answer
        future.add_done_callback(forget)

    def _unreachable(self, detail: str = "not connected") -> Unreachable:
        return Unreachable(f"NATS at {self.url}: {detail}; {REMEDY}")

    async def _dial(self) -> None:
        section, client = self._section, Client()
        password, token = section.password, section.token
        self._client = client
        await client.connect(
            servers=[url.strip() for url in section.url.split(",")],
            name=self._name,
            user=section.user,
            password=password.get_secret_value() if password else None,
            token=token.get_secret_value() if token else None,
            user_credentials=str(section.credentials_file_path) if section.credentials_file_path else None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_connected,
            closed_cb=self._on_closed,
        )
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_bytes_limit=0)
        await self._on_connected()

    async def _on_answer(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None:
            answer(message)

    async def _on_connected(self) -> None:
        if self.epoch:
            log.info("connected again", nats=self.url)
        self.epoch += 1
        self.connected.set()

    async def _on_disconnected(self) -> None:
        if not self._closing and self.connected.is_set():
            log.warning("connection lost, dialling again", nats=self.url)
        self._lose("the connection was lost")
        self._client.drop_unsent()

    async def _on_closed(self) -> None:
        """nats-py gives a connection up for some errors, such as an account that was changed: start over."""
        if not self._closing:
            log.error("connection closed by the server, dialling again", nats=self.url, error=self._last_error)
            self._reopening = asyncio.get_running_loop().create_task(self._dial())

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if text != self._last_error and not self._closing:
            log.warning("trouble with NATS", nats=self.url, error=text)
        # What the server said (that the password is wrong) is followed by the end of the connection, which says less.
        if self._last_error == NO_ANSWER or not isinstance(error, ConnectionResetError | nats.errors.UnexpectedEOF):
            self._last_error = text

    def _lose(self, reason: str) -> None:
        """Nobody waits any longer for an answer that cannot come."""
        self.connected.clear()
        for answer in list(self._waiting.values()):
            answer(self._unreachable(reason))


def without_credentials(urls: str) -> str:
    """The URLs as they may be shown."""
    shown = []
    for url in urls.split(","):
        parts = urlsplit(url.strip())
        shown.append(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    return ",".join(shown)
