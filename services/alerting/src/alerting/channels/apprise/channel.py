"""Slack, ntfy, Matrix, SMS and many more. A destination's address is an Apprise URL, all of it a secret.

Apprise blocks, so messages go out on threads of our own. It says yes or no; why, we read off the requests that its
service made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from alerting.channels import Ambiguous, Message, Sent
from alerting.channels.apprise.exchange import IN_HAND, Exchange
from alerting.channels.apprise.services import Service
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable


class Apprise:
    """Sends to `services`, `workers` messages at a time. `allow_private` is for development only (see `Outbound`)."""

    dedupes = False

    def __init__(self, *, services: Iterable[Service], timeout_s: float, workers: int, allow_private: bool) -> None:
        self._services = frozenset[str](services)
        self._timeout_s = timeout_s
        self._private = allow_private
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="apprise")
        self._loading: asyncio.Future[None] | None = None

    async def send(self, message: Message, destination: Destination) -> Sent:
        if destination.address.partition("://")[0].lower() not in self._services:
            raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "a service that is not among `alerting.apprise.services`")
        if self._loading is None:
            self._loading = asyncio.get_running_loop().run_in_executor(self._threads, _load)
        await asyncio.shield(self._loading)
        exchange = Exchange(time.monotonic() + self._timeout_s, self._private)
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await self._notify(exchange, destination.address, message)
        except TimeoutError:
            if exchange.give_up():
                raise Retryable(Undelivered.CONNECTION_FAILED, "no thread was free in time") from None
            raise Ambiguous(Undelivered.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
        if not taken:
            exchange.refuse()
        return Sent()  # what the service calls the message stays with Apprise

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _notify(self, exchange: Exchange, address: str, message: Message) -> bool:
        from alerting.channels.apprise.library import notify

        context = copy_context()
        context.run(IN_HAND.set, exchange)
        sending = self._threads.submit(context.run, notify, address, message, self._services)
        return await asyncio.wrap_future(sending)


def _load() -> None:
    from alerting.channels.apprise.library import load

    load()
