"""The consume loop, written once: fetch a bounded batch, handle, publish what came out, acknowledge.

Settle rules, the same for every service:

- malformed input, or `Rejected` by the handler: a dead letter first, then the message is terminated;
- `Retryable`: again after its delay; in order the loop waits in place, on a queue the message goes back;
- any other exception is our bug: logged with its traceback, delayed, and after MAX_ATTEMPTS a dead letter.

A batch that fails is handled again message by message, so that one bad message never takes its neighbours along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import structlog

from tocsin_common import tracing
from tocsin_common.bus.protocol import Bus, Consumer, Received
from tocsin_common.errors import Malformed, Rejected, Retryable, Unreachable
from tocsin_common.events import AnyEvent, DeadLetter, Event
from tocsin_common.metrics import LoopMetrics

log = structlog.get_logger()

T = TypeVar("T")

MAX_ATTEMPTS = 5
"""How often a message that hits a bug of ours is tried before its dead letter."""

FETCH_WAIT_S = 2.0
"""Short, so that a fetch that went deaf when the server died is over soon."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
MAX_ERROR_CHARS = 2_000


class Incoming(msgspec.Struct, frozen=True):
    """A decoded event together with the message that carried it."""

    event: AnyEvent
    message: Received


BatchHandler = Callable[[Sequence[Incoming]], Awaitable[Sequence[Event]]]
"""Turns a batch into the events to publish. May be called again with the same input: results must be derived."""

MessageHandler = Callable[[Incoming], Awaitable[Sequence[Event]]]


@dataclass(frozen=True, slots=True)
class Loop:
    """What one consume loop needs: the bus, its consumer, the service's name, when to stop, where to count.

    `bugs` counts, by sequence, how often a message of a queue hit a bug of ours.
    """

    bus: Bus
    consumer: Consumer
    service: str
    stop: asyncio.Event
    metrics: LoopMetrics
    bugs: dict[int, int] = field(default_factory=dict)


async def consume_in_order(loop: Loop, handle: BatchHandler, *, batch: int = 500) -> None:
    """Consume a durable strictly in stream order until `stop` is set; the batch in hand is finished first."""
    while not loop.stop.is_set():
        messages = await _fetch(loop, batch)
        if messages:
            await _handle_in_order(loop, handle, messages)


async def consume_queue(loop: Loop, handle: MessageHandler, *, workers: int = 16) -> None:
    """Consume a work queue with a pool of workers until `stop` is set; order does not matter.

    At most `workers` messages are in hand at a time; what is in hand when `stop` is set is finished.
    """
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        while not loop.stop.is_set():
            if len(running) >= workers:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for message in await _fetch(loop, workers - len(running)):
                task = group.create_task(_handle_one(loop, handle, message))
                running.add(task)
                task.add_done_callback(running.discard)


async def _fetch(loop: Loop, limit: int) -> list[Received]:
    """What there is to handle; none when told to stop, or while the server is away."""
    fetching = asyncio.ensure_future(loop.consumer.fetch(limit, FETCH_WAIT_S))
    stopping = asyncio.ensure_future(loop.stop.wait())
    try:
        await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await fetching if fetching.done() else []
    except Unreachable as error:
        log.warning("fetch failed", service=loop.service, error=str(error))
        await pause(loop.stop, BACKOFF_FIRST_S)
        return []
    finally:
        fetching.cancel()
        stopping.cancel()


async def _handle_in_order(loop: Loop, handle: BatchHandler, messages: Sequence[Received]) -> bool:
    """Settle the batch. False: stopping with messages unsettled, so nothing later may be handled either."""
    tracing.follow(messages[0].traceparent)
    incoming = [item for message in messages if (item := await _decode(loop, message)) is not None]
    attempt = 0
    while incoming:
        attempt += 1
        try:
            await loop.bus.publish(await handle(incoming))
        except (Retryable, Unreachable) as error:
            if not await _wait_in_place(loop, incoming, error, attempt):
                return False
        except Exception as error:
            if len(incoming) > 1:
                log.warning("batch failed, handling it message by message", service=loop.service, error=str(error))
                return await _handle_each(loop, handle, incoming)
            message = incoming[0].message
            if isinstance(error, Rejected) or _bug_again(loop, message, error) is None:
                await _bury(loop, message, error)
                return True
            if await pause(loop.stop, backoff_s(attempt)):
                return False
        else:
            loop.bugs.clear()
            await loop.consumer.ack([item.message for item in incoming])
            loop.metrics.handled.inc(len(incoming))
            return True
    return True


async def _handle_each(loop: Loop, handle: BatchHandler, incoming: Sequence[Incoming]) -> bool:
    for item in incoming:
        if not await _handle_in_order(loop, handle, [item.message]):
            return False
    return True


async def _wait_in_place(loop: Loop, incoming: Sequence[Incoming], error: Exception, attempt: int) -> bool:
    """Keep the batch and wait, because later messages may not overtake it. False: stopping, leave it unsettled."""
    delay_s = getattr(error, "retry_after_s", None) or backoff_s(attempt)
    loop.metrics.retried.inc(len(incoming))
    log.warning("retrying in order", service=loop.service, error=str(error), delay_s=delay_s, attempt=attempt)
    await loop.consumer.in_progress([item.message for item in incoming])
    return not await pause(loop.stop, delay_s)


async def _handle_one(loop: Loop, handle: MessageHandler, message: Received) -> None:
    tracing.follow(message.traceparent)
    item = await _decode(loop, message)
    if item is None:
        return
    try:
        await loop.bus.publish(await handle(item))
    except (Retryable, Unreachable) as error:
        delay_s = getattr(error, "retry_after_s", None) or backoff_s(message.deliveries)
        log.info("again later", service=loop.service, error=str(error), delay_s=delay_s, seq=message.seq)
        loop.metrics.retried.inc()
        await loop.consumer.nak(message, delay_s)
    except Rejected as error:
        await _bury(loop, message, error)
    except Exception as error:
        attempt = _bug_again(loop, message, error)
        if attempt is None:
            await _bury(loop, message, error)
        else:
            await loop.consumer.nak(message, backoff_s(attempt))
    else:
        loop.bugs.pop(message.seq, None)
        await loop.consumer.ack([message])
        loop.metrics.handled.inc()


def _bug_again(loop: Loop, message: Received, error: Exception) -> int | None:
    """Count and log a bug of ours; returns how often this message hit one, or None when that was the last attempt."""
    attempt = loop.bugs.pop(message.seq, 0) + 1
    if attempt >= MAX_ATTEMPTS:
        return None
    loop.bugs[message.seq] = attempt
    loop.metrics.retried.inc()
    log.error("handler failed", service=loop.service, subject=message.subject, seq=message.seq, exc_info=error)
    return attempt


async def _decode(loop: Loop, message: Received) -> Incoming | None:
    try:
        return Incoming(message.event(), message)
    except Malformed as error:
        await _bury(loop, message, error)
        return None


async def _bury(loop: Loop, message: Received, error: Exception) -> None:
    """Write the dead letter, then terminate: in this order, or a crash between the two would lose the message.

    Waits for a server that is away; when told to stop meanwhile, the message stays unsettled and comes again.
    """
    reason = "malformed" if isinstance(error, Malformed) else getattr(error, "reason", "bug")
    letter = DeadLetter(
        service=loop.service,
        stream=message.stream,
        seq=message.seq,
        original_subject=message.subject,
        reason=reason,
        error=f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS],
        payload=message.data,
    )
    try:
        await insist(loop.stop, lambda: loop.bus.publish([letter]), "store a dead letter")
    except Unreachable:
        return
    await loop.consumer.term(message)
    loop.metrics.dead.labels(loop.metrics.durable, reason).inc()
    log.error(
        "dead letter",
        service=loop.service,
        subject=message.subject,
        seq=message.seq,
        reason=reason,
        error=letter.error,
        exc_info=error if reason == "bug" else None,
    )


def backoff_s(attempt: int) -> float:
    """Exponential backoff: 0.5, 1, 2 ... 30 seconds for attempts 1, 2, 3 ..."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (min(attempt, 10) - 1))


async def insist(stop: asyncio.Event, call: Callable[[], Awaitable[T]], purpose: str) -> T:
    """What `call` gives, asked again while a server is away. It may be called again after it failed half-way.

    Raises Unreachable when told to stop meanwhile.
    """
    attempt = 0
    while True:
        try:
            return await call()
        except Unreachable as error:
            attempt += 1
            log.warning(f"cannot {purpose}, trying again", error=str(error), attempt=attempt)
            if await pause(stop, backoff_s(attempt)):
                raise


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for the time to pass or for `stop`; True when stopping."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
