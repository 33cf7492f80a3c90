"""Rules, subscribers and silences as they stand in their buckets, kept current while the service runs.

A malformed document is named (bucket, key, field), counted and passed over: what was valid under its key stays in
force, and all others work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from alerting.metrics import Metrics
from alerting.rules import Rules
from alerting.silences import Silences
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.documents import AlertRule, Silence, Subscriber, decode
from tocsin_common.errors import Malformed
from tocsin_common.streams import ALERT_RULES, SILENCES, SUBSCRIBERS, Bucket
from tocsin_common.subjects import decode_token

log = structlog.get_logger()

Apply = Callable[[str, bytes | None, int], None]
"""Takes an entry of a bucket: document id, value (None: deleted), revision."""


class Directory:
    """Who is told of what. Filled by `load`, kept current by `follow`."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self.rules = Rules()
        self.subscribers: dict[str, Subscriber] = {}
        self.silences = Silences()
        self._bus = bus
        self._metrics = metrics
        self._revisions: dict[tuple[str, str], int] = {}

    async def load(self) -> None:
        """Read everything there is: nothing may be matched against half of the rules."""
        for bucket, apply in self._buckets():
            for entry in (await self._bus.bucket(bucket).all()).values():
                self._take(bucket, entry, apply)
        log.info("rules loaded", rules=len(self.rules), subscribers=len(self.subscribers), silences=len(self.silences))

    async def follow(self, stop: asyncio.Event) -> None:
        """Apply changes until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(self._follow(bucket, apply)) for bucket, apply in self._buckets()]
            await stop.wait()
            for task in following:
                task.cancel()

    def _buckets(self) -> tuple[tuple[Bucket, Apply], ...]:
        return (
            (ALERT_RULES, self._apply_rule),
            (SUBSCRIBERS, self._apply_subscriber),
            (SILENCES, self._apply_silence),
        )

    async def _follow(self, bucket: Bucket, apply: Apply) -> None:
        async for entry in self._bus.bucket(bucket).watch():
            self._take(bucket, entry, apply)

    def _take(self, bucket: Bucket, entry: Entry, apply: Apply) -> None:
        place = (bucket.name, entry.key)
        if entry.revision <= self._revisions.get(place, 0):
            return
        self._revisions[place] = entry.revision
        try:
            apply(decode_token(entry.key), entry.value, entry.revision)
        except (Malformed, ValueError) as error:
            self._metrics.documents_ignored.labels(bucket.name).inc()
            log.error("document ignored", bucket=bucket.name, key=entry.key, problem=str(error))

    def _apply_rule(self, rule_id: str, value: bytes | None, revision: int) -> None:
        if value is None:
            self.rules.drop(rule_id)
            return
        rule: AlertRule = decode(value, AlertRule)  # type: ignore[arg-type]  # a union is a type to msgspec only
        _same_id("rule_id", rule.rule_id, rule_id)
        self.rules.put(rule, revision)

    def _apply_subscriber(self, subscriber_id: str, value: bytes | None, _revision: int) -> None:
        if value is None:
            self.subscribers.pop(subscriber_id, None)
            return
        subscriber = decode(value, Subscriber)
        _same_id("subscriber_id", subscriber.subscriber_id, subscriber_id)
        self.subscribers[subscriber_id] = subscriber

    def _apply_silence(self, silence_id: str, value: bytes | None, _revision: int) -> None:
        if value is None:
            self.silences.drop(silence_id)
            return
        silence = decode(value, Silence)
        _same_id("silence_id", silence.silence_id, silence_id)
        self.silences.put(silence)


def _same_id(name: str, given: str, key: str) -> None:
    if given != key:
        raise Malformed(f"`$.{name}` is {given!r}, but the document is stored under the key of {key!r}")
