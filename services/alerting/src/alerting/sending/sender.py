"""One channel's pool of senders: read the ledger, record the attempt, send, record the outcome.

Crashes leave one doubt, an attempt without an outcome; `delivery.next_step` says how it is settled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import structlog

from alerting.channels import Ambiguous, Channel, Message, Sent
from alerting.digests.telling import Telling
from alerting.directory import Directory
from alerting.metrics import Metrics
from alerting.picture.desk import Pictures
from alerting.pipeline import deliveries
from alerting.reasons import Undelivered
from alerting.sending.circuits import Circuits
from alerting.sending.clock import ClockMs
from alerting.sending.delivery import Attempt, Close, Done, PutAside, Wait, after_failure, is_late, next_step
from alerting.sending.gate import Permit
from alerting.sending.gates import Gates
from alerting.sending.hands import Hands
from alerting.sending.ledger import Ledger, Work
from alerting.sending.requests import Requests, as_message
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import SEVERITIES, ChannelName, DeliveryChanged, DeliveryState, Event, SendDue

log = structlog.get_logger()


class Sender:
    """Sends on one channel; `channel` None: it is not configured. Give `handle` to the loop of the channel's queue.

    `pictures` None: nothing is illustrated.
    """

    def __init__(
        self,
        bus: Bus,
        name: ChannelName,
        channel: Channel | None,
        directory: Directory,
        metrics: Metrics,
        gates: Gates,
        *,
        ttl_s: float,
        max_attempts: int,
        random: Random,
        pictures: Pictures | None = None,
        clock_ms: ClockMs = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._name = name
        self._channel = channel
        self._directory = directory
        self._metrics = metrics
        self._ttl_ms = int(ttl_s * 1000)
        self._max_attempts = max_attempts
        self._random = random
        self._pictures = pictures
        self._now_ms = clock_ms
        self._ledger = Ledger(bus, name, clock_ms)
        self._telling = Telling(bus, clock_ms)
        self._requests = Requests(name, metrics)
        self._gates = gates
        self._gate = gates[name]
        self._circuits = Circuits(name, metrics, random, clock_ms)
        self._hands = Hands(name, self._go_on, at_once=self._gate.workers, clock_ms=clock_ms)

    def begin(self, due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        """Start on work whose ledger was opened just now, at `seq`."""
        self._hands.begin(due, opened, seq)

    async def finish(self) -> None:
        """Wait for what was begun at once."""
        await self._hands.finish()

    async def hurry_after(self, stop: asyncio.Event) -> None:
        """Once `stop` is set, requests under way have little time left."""
        await self._requests.hurry_after(stop)

    async def handle(self, incoming: Incoming) -> Sequence[Event]:
        """Bring one delivery one step further. Raises Retryable when it is to be looked at again later."""
        due = incoming.event
        if not isinstance(due, SendDue) or due.channel != self._name:
            raise Rejected("unexpected_type", f"not work for the channel {self._name}")
        async with self._hands.holding(due):
            await self._go_on(due, *await self._ledger.read(due))
        return []

    async def _go_on(self, due: SendDue, last: DeliveryChanged | None, seq: int) -> None:
        destination = self._destination(due)
        repeatable = self._repeatable(destination)
        step = next_step(last, due, now_ms=self._now_ms(), repeatable=repeatable)
        work = Work.after(last, due, seq)
        match step:
            case Done():
                pass
            case Wait(delay_s):
                raise Retryable("under_way", retry_after_s=delay_s)
            case PutAside():
                await self._put_aside(work, recorded=last is not None and last.state == "aside")
            case Close(state, reason):
                await self._close(work, state, reason)
            case Attempt(number):
                if self._channel is None:
                    await self._close(work, "failed", Undelivered.CHANNEL_NOT_CONFIGURED)
                elif destination is None:
                    await self._close(work, "failed", Undelivered.DESTINATION_GONE)
                elif not destination.verified:
                    await self._close(work, "failed", Undelivered.NOT_VERIFIED)
                elif not destination.enabled:
                    await self._close(work, "failed", Undelivered.UNSUBSCRIBED)
                else:
                    await self._attempt(work, number, self._channel, destination)
        if due.digest:
            await self._telling.end(due, (await self._ledger.read(due))[0])

    async def _attempt(self, work: Work, number: int, channel: Channel, destination: Destination) -> None:
        """Everything that may take long comes before the attempt is recorded: a crash meanwhile leaves no doubt."""
        route, rank = self._gates.route(self._name, destination.address), SEVERITIES.index(work.due.severity)
        try:
            self._circuits.check(route.host, route.destination)
            permit = await self._gate.permit(route, rank)
        except Retryable as wait:
            await self._wait(work, wait)
            return
        work, message = await self._said(work)
        async with self._gate.connection(rank):
            with self._circuits.watching(route.host, route.destination) as watched:
                work = await self._ledger.record(work, "attempting", number)
                watched.outcome = await self._ask(permit, channel, message, destination)
        try:
            await self._conclude(work, watched.outcome, destination)
        finally:
            await self._gates.heed(route, watched.outcome)

    async def _conclude(self, work: Work, outcome: Sent | Rejected | Retryable, destination: Destination) -> None:
        """Record what became of an attempt; raises Retryable when another one follows."""
        match outcome:
            case Rejected() as error:
                await self._close(work, "failed", Undelivered(error.reason), detail=str(error))
            case Retryable() as error:
                await self._fail(work, error, destination)
            case Sent(reference=reference):
                await self._ledger.record(work, "sent", work.attempt, reference=reference)
                self._metrics.sent.labels(self._name).inc()
                log.debug("sent", channel=self._name, delivery_id=work.due.delivery_id, attempt=work.attempt)

    async def _ask(
        self, permit: Permit, channel: Channel, message: Message, destination: Destination
    ) -> Sent | Rejected | Retryable:
        """One request, and what became of it."""
        try:
            await self._gate.ready(permit)
            return await self._requests.send(channel, message, destination)
        except (Rejected, Retryable) as error:
            return error

    async def _wait(self, work: Work, wait: Retryable) -> None:
        """Raise what asks us to wait, unless it would be late then: put it aside. That a circuit is open is recorded
        once."""
        now_ms, delay_s = self._now_ms(), wait.retry_after_s or 0.0
        if not work.doubtful and not work.due.late_dropped and is_late(work.due, now_ms + int(delay_s * 1000)):
            await self._put_aside(work, unreachable=True)
            return
        if wait.reason == Undelivered.CIRCUIT_OPEN and work.reason != wait.reason:
            await self._ledger.record(work, "retrying", work.attempt, reason=wait.reason)
            self._metrics.retried.labels(self._name, wait.reason).inc()
        left_s = (work.due.deadline_ms - now_ms) / 1000
        raise Retryable(wait.reason, retry_after_s=min(delay_s, left_s))

    async def _said(self, work: Work) -> tuple[Work, Message]:
        """What is sent. A picture is soon there or not at all, and all of it is there before the attempt is recorded: a
        crash meanwhile leaves no doubt."""
        due = work.due
        if due.digest:
            return await self._telling.said(work, self._directory.subscribers[due.subscriber_id])
        picture = await self._pictures.of_work(due) if self._pictures else None
        age_s = (self._now_ms() - self._stored_ms(due)) / 1000
        if work.attempt == 0:
            self._metrics.alert_seconds.labels(self._name).observe(age_s)
        return work, as_message(due, age_s, picture, await self._ledger.first_sent(due.answers))

    async def _fail(self, work: Work, error: Retryable, destination: Destination) -> None:
        """Record what follows a failed attempt; raises Retryable when that is another one."""
        now_ms = self._now_ms()
        repeatable = self._repeatable(destination)
        follows = after_failure(
            error,
            work.attempt,
            work.due,
            now_ms=now_ms,
            doubtful=work.doubtful,
            repeatable=repeatable,
            max_attempts=self._max_attempts,
            random=self._random,
        )
        if isinstance(follows, Close):
            await self._close(work, follows.state, follows.reason, detail=str(error))
            return
        if isinstance(follows, PutAside):
            await self._put_aside(work, unreachable=True)
            return
        work = replace(work, doubtful=work.doubtful or isinstance(error, Ambiguous))
        await self._ledger.record(work, "retrying", work.attempt, reason=error.reason)
        self._metrics.retried.labels(self._name, error.reason).inc()
        log.info(
            "delivery retried",
            channel=self._name,
            delivery_id=work.due.delivery_id,
            attempt=work.attempt,
            error=str(error),
            delay_s=round(follows.delay_s, 1),
        )
        raise Retryable(error.reason, retry_after_s=follows.delay_s)

    async def _close(self, work: Work, state: DeliveryState, reason: Undelivered, detail: str = "") -> None:
        """Record a terminal state other than sent."""
        work = await self._telling.bounded(work)
        await self._ledger.record(work, state, work.attempt, reason=reason)
        self._metrics.failed.labels(self._name, state, reason).inc()
        log.warning(
            "not delivered",
            channel=self._name,
            delivery_id=work.due.delivery_id,
            subscriber=work.due.subscriber_id,
            state=state,
            reason=str(reason),
            detail=detail,
        )

    async def _put_aside(self, work: Work, *, recorded: bool = False, unreachable: bool = False) -> None:
        """The ledger says first that it waits (`recorded`: it does), then it waits: of both, a crash loses nothing."""
        if not recorded:
            await self._ledger.record(work, "aside", work.attempt, reason="late")
            self._metrics.aside.labels(self._name, "late").inc()
        unreachable = unreachable or work.attempt > 0
        await self._telling.put_aside(work.due, stored_ms=self._stored_ms(work.due), unreachable=unreachable)

    def _destination(self, due: SendDue) -> Destination | None:
        """Where the delivery goes today: a corrected address is used, a removed one ends it."""
        subscriber = self._directory.subscribers.get(due.subscriber_id)
        if subscriber is None or not subscriber.enabled:
            return None
        found = {one.delivery_id: one.destination for one in deliveries(due.alert_id, subscriber)}
        return found.get(due.delivery_id)

    def _repeatable(self, destination: Destination | None) -> bool:
        if self._channel is None or destination is None:
            return False
        return self._channel.dedupes or destination.on_unknown == "resend"

    def _stored_ms(self, due: SendDue) -> int:
        """When the cause was stored: its deadline counts from there."""
        return due.deadline_ms - self._ttl_ms
