"""Asks Telegram for updates, while no other replica does, and has them handled.

A batch is confirmed by the request for the next one, so what a crash interrupts comes again (the ledger knows what of
it was handled). Nothing else remembers the position: Telegram begins with the first update that is not confirmed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import structlog

from alerting.bot.api import BotApi
from alerting.bot.asked import Asked
from alerting.bot.dispatch import Dispatch
from alerting.bot.metrics import BotMetrics
from tocsin_common.bus.consume import pause
from tocsin_common.bus.holding import while_held
from tocsin_common.bus.leases import Lease
from tocsin_common.errors import Rejected, Retryable, Unreachable

log = structlog.get_logger()

POLL_S = 25
"""How long Telegram may wait for an update before it answers that there is none."""

PEOPLE_AT_ONCE = 16
"""People whose updates are handled side by side; those of one person come one after the other."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 30.0


class Poller:
    """The poller of one replica."""

    def __init__(self, api: BotApi, dispatch: Dispatch, lease: Lease, metrics: BotMetrics) -> None:
        self._api = api
        self._dispatch = dispatch
        self._lease = lease
        self._metrics = metrics
        self._people = asyncio.Semaphore(PEOPLE_AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll whenever the lease is ours, until `stop` is set. What is in hand then is finished."""
        await while_held(self._lease, self._hold, stop)

    async def _hold(self, stop: asyncio.Event) -> None:
        log.info("polling Telegram")
        self._metrics.polling.set(1)
        try:
            await self._poll(stop)
        finally:
            self._metrics.polling.set(0)

    async def _poll(self, stop: asyncio.Event) -> None:
        """Batch after batch. Where one cannot be had or recorded, the next try waits, longer each time."""
        offset, backoff_s = 0, BACKOFF_FIRST_S
        while not stop.is_set():
            try:
                found = await self._next(offset, stop)
                await self._handle(asked for _, asked in found if asked is not None)
                offset = max((number + 1 for number, _ in found), default=offset)
                backoff_s = BACKOFF_FIRST_S
            except (Rejected, Retryable, Unreachable) as error:
                reason = getattr(error, "reason", "unreachable")
                self._metrics.poll_failures.labels(reason).inc()
                log.warning("no updates from Telegram", reason=reason, retry_s=backoff_s)
                told_s = getattr(error, "retry_after_s", None)
                await pause(stop, max(told_s or 0.0, backoff_s))
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def _next(self, offset: int, stop: asyncio.Event) -> list[tuple[int, Asked | None]]:
        """The next batch; none when `stop` is set first: nothing was confirmed then."""
        asking = asyncio.create_task(self._api.updates(offset, wait_s=POLL_S))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else []
        finally:
            for task in (asking, stopping):
                task.cancel()

    async def _handle(self, updates: Iterable[Asked]) -> None:
        """Raises Unreachable: one of them was not recorded; those that were are known when they come again."""
        people: dict[int, list[Asked]] = defaultdict(list)
        for asked in updates:
            people[asked.person.user_id].append(asked)
        results = await asyncio.gather(*(self._serve(theirs) for theirs in people.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _serve(self, updates: list[Asked]) -> None:
        async with self._people:
            for asked in updates:
                await self._dispatch.handle(asked)
