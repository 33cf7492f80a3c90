"""One request within its time limit, and what any failure of it means."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from alerting.channels import Ambiguous, Channel, Message, Original, Sent
from alerting.metrics import Metrics
from alerting.reasons import Undelivered
from alerting.sending.delivery import ATTEMPT_LIMIT_S
from alerting.words.voice import Voice
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import ChannelName, SendDue

log = structlog.get_logger()

LATE_S = 60.0
"""An alert that reaches its subscriber later than this says so."""

STOP_S = 4.0
"""Half of what the runtime leaves a stopping service."""


class Requests:
    """The requests of one channel that are under way."""

    def __init__(self, name: ChannelName, metrics: Metrics) -> None:
        self._name = name
        self._in_flight = metrics.in_flight.labels(name)
        self._seconds = metrics.send_seconds.labels(name)
        self._limits: set[asyncio.Timeout] = set()

    async def send(self, channel: Channel, message: Message, destination: Destination) -> Sent:
        """What the receiver says. Raises Rejected, Retryable or Ambiguous and nothing else."""
        try:
            with self._in_flight.track_inprogress(), self._seconds.time():
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

    async def hurry_after(self, stop: asyncio.Event) -> None:
        """Once `stop` is set, requests under way have STOP_S left: their outcome must be recorded before we leave."""
        await stop.wait()
        deadline = asyncio.get_running_loop().time() + STOP_S
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(deadline, limit.when() or deadline))

    @asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        async with asyncio.timeout(ATTEMPT_LIMIT_S) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)


def as_message(due: SendDue, age_s: float, picture: bytes | None, original: Original | None) -> Message:
    """What the channel gets; an alert that is late says so."""
    voice = Voice(due.language, due.zone)
    late = {voice.say("fields.late_by"): voice.duration(age_s)} if age_s >= LATE_S else {}
    return Message(
        delivery_id=due.delivery_id,
        alert_id=due.alert_id,
        title=due.title,
        text=due.text,
        fields={**due.fields, **late},
        ts_ms=due.ts_ms,
        picture=picture,
        silent=due.silent,
        voice=voice,
        subscriber_id=due.subscriber_id,
        answers=original,
    )
