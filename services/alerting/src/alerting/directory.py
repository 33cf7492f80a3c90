"""Rules, subscribers and silences as they stand in their buckets, kept current while the service runs.

A malformed document is named (bucket, key, field), counted and passed over: what was valid under its key stays in
force, and all others work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from alerting.judging.silences import Silences
from alerting.kinds import KINDS, RULE, SILENCE, SUBSCRIBER, D, Held, Kind
from alerting.matching.rules import Rules
from alerting.metrics import Metrics
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.documents import AlertRule, Silence, Subscriber
from tocsin_common.errors import Malformed
from tocsin_common.subjects import decode_token

log = structlog.get_logger()

Apply = Callable[[str, Any, int], None]
"""Takes what became of a document: its id, the document (None: deleted), its revision."""


class Directory:
    """Who is told of what. Filled by `load`, kept current by `follow`."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self.rules = Rules()
        self.subscribers: dict[str, Subscriber] = {}
        self.silences = Silences()
        self._bus = bus
        self._metrics = metrics
        self._revisions: dict[tuple[str, str], int] = {}
        self._held: dict[str, dict[str, Held[Any]]] = {name: {} for name in KINDS}
        self._apply: dict[str, Apply] = {
            RULE.name: self._apply_rule,
            SUBSCRIBER.name: self._apply_subscriber,
            SILENCE.name: self._apply_silence,
        }

    def held(self, kind: Kind[D]) -> Mapping[str, Held[D]]:
        """The documents of a kind that are in force, by id."""
        return self._held[kind.name]

    async def load(self) -> None:
        """Read everything there is: nothing may be matched against half of the rules."""
        for kind in KINDS.values():
            for entry in (await self._bus.bucket(kind.bucket).all()).values():
                self.take(kind, entry)
        log.info("rules loaded", rules=len(self.rules), subscribers=len(self.subscribers), silences=len(self.silences))

    async def follow(self, stop: asyncio.Event) -> None:
        """Apply changes until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(self._follow(kind)) for kind in KINDS.values()]
            await stop.wait()
            for task in following:
                task.cancel()

    async def _follow(self, kind: Kind[Any]) -> None:
        async for entry in self._bus.bucket(kind.bucket).watch():
            self.take(kind, entry)

    def take(self, kind: Kind[Any], entry: Entry) -> None:
        """Go by an entry of a bucket from now on; one that is known, or older, changes nothing."""
        place = (kind.name, entry.key)
        if entry.revision <= self._revisions.get(place, 0):
            return
        self._revisions[place] = entry.revision
        try:
            document_id = decode_token(entry.key)
            document = None if entry.value is None else kind.decode(entry.value, document_id)
        except (Malformed, ValueError) as error:
            self._metrics.documents_ignored.labels(kind.bucket.name).inc()
            log.error("document ignored", bucket=kind.bucket.name, key=entry.key, problem=str(error))
            return
        if document is None:
            self._held[kind.name].pop(document_id, None)
        else:
            self._held[kind.name][document_id] = Held(document, entry.revision)
        self._apply[kind.name](document_id, document, entry.revision)

    def _apply_rule(self, rule_id: str, rule: AlertRule | None, revision: int) -> None:
        if rule is None:
            self.rules.drop(rule_id)
        else:
            self.rules.put(rule, revision)

    def _apply_subscriber(self, subscriber_id: str, subscriber: Subscriber | None, _revision: int) -> None:
        if subscriber is None:
            self.subscribers.pop(subscriber_id, None)
        else:
            self.subscribers[subscriber_id] = subscriber

    def _apply_silence(self, silence_id: str, silence: Silence | None, _revision: int) -> None:
        if silence is None:
            self.silences.drop(silence_id)
        else:
            self.silences.put(silence)
