"""Which deliveries of a channel this process has in hand: each at most once.

Work comes by the channel's queue. What has just become due in this process is begun at once, beside its way through
the queue: the ledger decides which of the two goes on, as between any two workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from alerting.sending.clock import ClockMs
from alerting.sending.ledger import LOOK_AGAIN_S
from tocsin_common.errors import Retryable
from tocsin_common.events import ChannelName, DeliveryChanged, SendDue

log = structlog.get_logger()

GoOn = Callable[[SendDue, DeliveryChanged | None, int], Awaitable[None]]
"""Brings a delivery one step further: the work, the ledger's last entry, and that entry's sequence."""


class Hands:
    """Takes up to `at_once` deliveries at once, and any number that come by the queue."""

    def __init__(self, channel: ChannelName, go_on: GoOn, *, at_once: int, clock_ms: ClockMs) -> None:
        self._channel = channel
        self._go_on = go_on
        self._at_once = at_once
        self._now_ms = clock_ms
        self._held: set[str] = set()
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._not_before_ms: dict[str, int] = {}

    def begin(self, due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        """Start on work whose ledger was opened just now, at `seq`. It comes by the queue as well: what fails here is
        taken up again there, and with all hands full nothing is started."""
        if len(self._begun) < self._at_once and due.delivery_id not in self._held:
            self._held.add(due.delivery_id)
            self._begun[due.delivery_id] = asyncio.create_task(self._go_on_at_once(due, opened, seq))

    async def finish(self) -> None:
        """Wait for what was begun at once."""
        await asyncio.gather(*self._begun.values())

    @asynccontextmanager
    async def holding(self, due: SendDue) -> AsyncIterator[None]:
        """Have a delivery that came by the queue. Raises Retryable while it is in hand already, or waits."""
        if (begun := self._begun.get(due.delivery_id)) is not None:
            await asyncio.wait((begun,))
        if due.delivery_id in self._held:
            raise Retryable("under_way", retry_after_s=LOOK_AGAIN_S)
        if (wait_ms := self._not_before_ms.pop(due.delivery_id, 0) - self._now_ms()) > 0:
            raise Retryable("under_way", retry_after_s=wait_ms / 1000)
        self._held.add(due.delivery_id)
        try:
            yield
        finally:
            self._held.discard(due.delivery_id)

    async def _go_on_at_once(self, due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        try:
            await self._go_on(due, opened, seq)
        except Retryable as error:
            delay_s = LOOK_AGAIN_S if error.retry_after_s is None else error.retry_after_s
            self._not_before_ms[due.delivery_id] = self._now_ms() + int(delay_s * 1000)
        except Exception as error:
            log.warning("left to the queue", channel=self._channel, delivery_id=due.delivery_id, error=str(error))
        finally:
            self._held.discard(due.delivery_id)
            del self._begun[due.delivery_id]
