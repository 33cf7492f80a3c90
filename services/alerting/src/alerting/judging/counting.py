"""Follows ALERTS for the quotas: who was told how much lately, and who has to be told that this was all for a day."""

from __future__ import annotations

import asyncio

import structlog

from alerting.judging.quotas import Quotas, until
from alerting.matching.causes import Personal
from alerting.personal import Herald
from alerting.reasons import Suppressed
from alerting.sending.opener import Opener
from alerting.words.voice import Voice
from tocsin_common.bus.consume import pause
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.documents import Subscriber
from tocsin_common.errors import Malformed, Unreachable
from tocsin_common.events import AlertKind, AlertRaised, AlertSuppressed
from tocsin_common.ids import derive
from tocsin_common.streams import ALERTS

log = structlog.get_logger()

LATELY_MS = 26 * 3_600_000
"""What is read when it starts: a day, and an hour of each clock that may differ."""

REMEMBERED = 10_000
"""Of those who have been told; what is forgotten is looked up again."""

BATCH, WAIT_S = 1_000, 1.0

UNCOUNTED: tuple[AlertKind, ...] = ("test", "notice")
"""What somebody asked for, or we have to say."""


class Counting:
    """Run it in every replica: each counts what all of them tell, and what two of them say is stored once."""

    def __init__(self, bus: Bus, quotas: Quotas, opener: Opener) -> None:
        self._bus, self._quotas = bus, quotas
        self._subscribers, self._now_ms = opener.directory.subscribers, opener.clock_ms
        self._herald = Herald(bus, opener)
        self._seq: int | None = None
        self._untold: dict[tuple[str, int], None] = {}
        self._told: dict[tuple[str, int], None] = {}

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the stream until `stop`."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except Unreachable as error:
                log.warning("alerts of the day are not counted", error=str(error))
                await pause(stop, WAIT_S)

    async def _follow(self, stop: asyncio.Event) -> None:
        if self._seq is None:
            self._seq = await self._begin()
        following = self._bus.follow(ALERTS, "alerts.>", after=self._seq)
        try:
            while not stop.is_set():
                for message in await following.fetch(BATCH, WAIT_S):
                    self.take(message)
                    self._seq = message.seq
                await self.tell()
        finally:
            await following.close()

    async def _begin(self) -> int:
        """Before what was stored lately."""
        first = await self._bus.page(ALERTS, "alerts.>", since_ms=max(1, self._now_ms() - LATELY_MS), limit=1)
        return first[0].seq - 1 if first else (await self._bus.stream_state(ALERTS)).last_seq

    def take(self, message: Received) -> None:
        """Count it."""
        try:
            event = message.event()
        except Malformed:
            return
        match event:
            case AlertRaised() if event.kind not in UNCOUNTED:
                self._quotas.stored(event.alert_id, event.subscribers, event.ts_ms)
            case AlertSuppressed(reason=Suppressed.QUOTA, subscriber_id=str(name)) if name in self._subscribers:
                reached = name, until(self._subscribers[name], event.ts_ms)
                if reached not in self._told:
                    self._untold[reached] = None

    async def tell(self) -> None:
        """Tell who has had all; who does not listen now is told later, as long as it matters. Raises Unreachable."""
        for name, until_ms in list(self._untold):
            subscriber = self._subscribers.get(name)
            said = subscriber is not None and await self._herald.say(subscriber, self._word(subscriber, until_ms))
            if said:
                self._told[name, until_ms] = None
                while len(self._told) > REMEMBERED:
                    del self._told[next(iter(self._told))]
            if said or until_ms <= self._now_ms():
                del self._untold[name, until_ms]

    def _word(self, subscriber: Subscriber, until_ms: int) -> Personal:
        name = subscriber.subscriber_id
        number = str(self._quotas.limits(name).alerts_per_day)

        def given(voice: Voice) -> dict[str, str]:
            return {"number": number, "until": voice.moment(until_ms)}

        return Personal(derive("quota", name, until_ms), self._now_ms(), "quota", given, f"{name}:{until_ms}")
