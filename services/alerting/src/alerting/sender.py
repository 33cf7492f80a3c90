"""One channel's pool of senders: read the ledger, record the attempt, send, record the outcome.

A record is written only if nobody wrote to the delivery's ledger since it was read, so of two workers one goes on
and the other looks again. Crashes leave one doubt, an attempt without an outcome; `delivery.next_step` says how it
is settled.

Work comes by the channel's queue. What has just become due in this process is begun at once, beside its way through
the queue: the ledger decides which of the two goes on, as between any two workers.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import structlog

from alerting.channels import Ambiguous, Channel, Message
from alerting.delivery import ATTEMPT_LIMIT_S, Attempt, Close, Done, Wait, after_failure, next_step
from alerting.directory import Directory
from alerting.metrics import Metrics
from alerting.picture.desk import Pictures
from alerting.pipeline import deliveries
from alerting.reasons import Undelivered
from alerting.wording import duration
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination
from tocsin_common.errors import Conflict, Rejected, Retryable
from tocsin_common.events import ChannelName, DeliveryChanged, DeliveryState, Event, SendDue
from tocsin_common.streams import DELIVERIES
from tocsin_common.subjects import delivery as delivery_subject

log = structlog.get_logger()

LATE_S = 60.0
"""An alert that reaches its subscriber later than this says so."""

STOP_S = 4.0
"""Half of what the runtime leaves a stopping service."""

LOOK_AGAIN_S = 1.0
"""Another worker wrote first: what it wrote is known soon."""


@dataclass(frozen=True, slots=True)
class Work:
    """A due delivery with its ledger: the sequence of the last entry, and how many requests were started."""

    due: SendDue
    seq: int
    attempt: int


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
        *,
        ttl_s: float,
        max_attempts: int,
        random: Random,
        at_once: int,
        pictures: Pictures | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus = bus
        self._name = name
        self._channel = channel
        self._directory = directory
        self._metrics = metrics
        self._in_flight = metrics.in_flight.labels(name)
        self._send_seconds = metrics.send_seconds.labels(name)
        self._ttl_ms = int(ttl_s * 1000)
        self._max_attempts = max_attempts
        self._random = random
        self._pictures = pictures
        self._now_ms = clock_ms
        self._paused_until_ms: dict[str, int] = {}
        self._limits: set[asyncio.Timeout] = set()
        self._in_hand: set[str] = set()
        self._at_once = at_once
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._not_before_ms: dict[str, int] = {}

    def begin(self, due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        """Start on work whose ledger was opened just now, at `seq`. It comes by the queue as well: what fails here is
        taken up again there, and with all hands full nothing is started."""
        if len(self._begun) < self._at_once and due.delivery_id not in self._in_hand:
            self._in_hand.add(due.delivery_id)
            self._begun[due.delivery_id] = asyncio.create_task(self._go_on_at_once(due, opened, seq))

    async def finish(self) -> None:
        """Wait for what was begun at once."""
        await asyncio.gather(*self._begun.values())

    async def _go_on_at_once(self, due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        try:
            await self._go_on(due, opened, seq)
        except Retryable as error:
            delay_s = LOOK_AGAIN_S if error.retry_after_s is None else error.retry_after_s
            self._not_before_ms[due.delivery_id] = self._now_ms() + int(delay_s * 1000)
        except Exception as error:
            log.warning("left to the queue", channel=self._name, delivery_id=due.delivery_id, error=str(error))
        finally:
            self._in_hand.discard(due.delivery_id)
            del self._begun[due.delivery_id]

    async def handle(self, incoming: Incoming) -> Sequence[Event]:
        """Bring one delivery one step further. Raises Retryable when it is to be looked at again later."""
        due = incoming.event
        if not isinstance(due, SendDue) or due.channel != self._name:
            raise Rejected("unexpected_type", f"not work for the channel {self._name}")
        if (begun := self._begun.get(due.delivery_id)) is not None:
            await asyncio.wait((begun,))
        if due.delivery_id in self._in_hand:
            raise Retryable("under_way", retry_after_s=LOOK_AGAIN_S)
        if (wait_ms := self._not_before_ms.pop(due.delivery_id, 0) - self._now_ms()) > 0:
            raise Retryable("under_way", retry_after_s=wait_ms / 1000)
        self._in_hand.add(due.delivery_id)
        try:
            await self._go_on(due, *await self._ledger(due))
        finally:
            self._in_hand.discard(due.delivery_id)
        return []

    async def _go_on(self, due: SendDue, last: DeliveryChanged | None, seq: int) -> None:
        destination = self._destination(due)
        repeatable = self._repeatable(destination)
        step = next_step(last, due, now_ms=self._now_ms(), repeatable=repeatable)
        work = Work(due, seq, last.attempt if last else 0)
        match step:
            case Done():
                return
            case Wait(delay_s):
                raise Retryable("under_way", retry_after_s=delay_s)
            case Close(state, reason):
                await self._close(work, state, reason)
            case Attempt(number):
                if self._channel is None:
                    await self._close(work, "failed", Undelivered.CHANNEL_NOT_CONFIGURED)
                elif destination is None:
                    await self._close(work, "failed", Undelivered.DESTINATION_GONE)
                else:
                    await self._attempt(work, number, self._channel, destination)

    async def hurry_after(self, stop: asyncio.Event) -> None:
        """Once `stop` is set, requests under way have STOP_S left: their outcome must be recorded before we leave."""
        await stop.wait()
        deadline = asyncio.get_running_loop().time() + STOP_S
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(deadline, limit.when() or deadline))

    async def _attempt(self, work: Work, number: int, channel: Channel, destination: Destination) -> None:
        self._respect_pause(destination)
        picture = await self._picture(work.due)
        work = await self._record(work, "attempting", number)
        try:
            reference = await self._send(work, channel, destination, picture)
        except Rejected as error:
            await self._close(work, "failed", Undelivered(error.reason), detail=str(error))
        except Retryable as error:
            await self._fail(work, error, destination)
        else:
            await self._record(work, "sent", number, reference=reference)
            self._metrics.sent.labels(self._name).inc()
            log.debug("sent", channel=self._name, delivery_id=work.due.delivery_id, attempt=number)

    async def _picture(self, due: SendDue) -> bytes | None:
        """Soon there or not at all, and before the attempt is recorded: a crash meanwhile leaves no doubt."""
        return await self._pictures.of(due.signal) if self._pictures and due.signal else None

    async def _send(self, work: Work, channel: Channel, destination: Destination, picture: bytes | None) -> str:
        """One request within the time limit. Raises Rejected, Retryable or Ambiguous and nothing else."""
        age_s = (self._now_ms() - self._stored_ms(work.due)) / 1000
        if work.attempt == 1:
            self._metrics.alert_seconds.labels(self._name).observe(age_s)
        message = as_message(work.due, age_s, picture)
        try:
            with self._in_flight.track_inprogress(), self._send_seconds.time():
                async with self._time_limit():
                    return await channel.send(message, destination)
        except (Rejected, Retryable):
            raise
        except TimeoutError:
            raise Ambiguous(Undelivered.TIMEOUT, "no answer in time") from None
        except Exception as error:
            # A bug in a channel or its library. The message of the error is not logged: it may hold a URL with a token.
            place = "".join(traceback.format_tb(error.__traceback__)[-3:])
            log.error("channel failed", channel=self._name, kind=type(error).__name__, place=place)
            raise Ambiguous(Undelivered.CHANNEL_BUG, type(error).__name__) from None

    @asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        async with asyncio.timeout(ATTEMPT_LIMIT_S) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def _fail(self, work: Work, error: Retryable, destination: Destination) -> None:
        """Record what follows a failed attempt; raises Retryable when that is another one."""
        now_ms = self._now_ms()
        repeatable = self._repeatable(destination)
        follows = after_failure(
            error,
            work.attempt,
            work.due,
            now_ms=now_ms,
            repeatable=repeatable,
            max_attempts=self._max_attempts,
            random=self._random,
        )
        if error.retry_after_s is not None:
            self._paused_until_ms[destination.address] = now_ms + int(error.retry_after_s * 1000)
        if isinstance(follows, Close):
            await self._close(work, follows.state, follows.reason, detail=str(error))
            return
        await self._record(work, "retrying", work.attempt, reason=error.reason)
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
        await self._record(work, state, work.attempt, reason=reason)
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

    async def _record(
        self, work: Work, state: DeliveryState, attempt: int, *, reason: str = "", reference: str = ""
    ) -> Work:
        """Append to the ledger where we left it. Raises Retryable when somebody else was there in the meantime.

        A receipt that says "stored before" may answer our own repeated request: then the entry is ours to the last
        millisecond.
        """
        change = DeliveryChanged(
            delivery_id=work.due.delivery_id,
            alert_id=work.due.alert_id,
            subscriber_id=work.due.subscriber_id,
            channel=self._name,
            state=state,
            attempt=attempt,
            at_ms=self._now_ms(),
            reason=reason,
            provider_ref=reference,
        )
        try:
            stored = await self._bus.append(change, expected_last=work.seq)
        except Conflict:
            raise Retryable("raced", retry_after_s=LOOK_AGAIN_S) from None
        if stored.duplicate and await self._ledger(work.due) != (change, stored.seq):
            raise Retryable("raced", retry_after_s=LOOK_AGAIN_S)
        return Work(work.due, stored.seq, attempt)

    async def _ledger(self, due: SendDue) -> tuple[DeliveryChanged | None, int]:
        message = await self._bus.last(DELIVERIES, delivery_subject(self._name, due.delivery_id))
        if message is None:
            return None, 0
        change = message.event()
        assert isinstance(change, DeliveryChanged)
        return change, message.seq

    def _destination(self, due: SendDue) -> Destination | None:
        """Where the delivery goes today: a corrected address is used, a removed one ends it."""
        subscriber = self._directory.subscribers.get(due.subscriber_id)
        if subscriber is None or not subscriber.enabled:
            return None
        return dict(deliveries(due.alert_id, subscriber)).get(due.delivery_id)

    def _repeatable(self, destination: Destination | None) -> bool:
        if self._channel is None or destination is None:
            return False
        return self._channel.dedupes or destination.on_unknown == "resend"

    def _respect_pause(self, destination: Destination) -> None:
        """Do not ask an address that told us to wait: others queued for it wait too, without using up attempts."""
        until_ms = self._paused_until_ms.get(destination.address)
        if until_ms is None:
            return
        remaining_ms = until_ms - self._now_ms()
        if remaining_ms > 0:
            raise Retryable(Undelivered.RATE_LIMITED, retry_after_s=remaining_ms / 1000)
        del self._paused_until_ms[destination.address]

    def _stored_ms(self, due: SendDue) -> int:
        """When the cause was stored: its deadline counts from there."""
        return due.deadline_ms - self._ttl_ms


def as_message(due: SendDue, age_s: float, picture: bytes | None) -> Message:
    """What the channel gets; an alert that is late says so."""
    fields = {**due.fields, "Late by": duration(age_s)} if age_s >= LATE_S else due.fields
    return Message(
        delivery_id=due.delivery_id,
        alert_id=due.alert_id,
        title=due.title,
        text=due.text,
        fields=fields,
        ts_ms=due.ts_ms,
        picture=picture,
        silent=due.silent,
    )
