"""The `seed` section of the configuration: documents that `tocsin up` and `tocsin seed` put into the key-value buckets.

A seeded document is written when it is missing, and again when the configuration changes it. One that a person
changed or deleted since in the running system is theirs: it stays so, and the command says it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.changes import changes_of, note_of
from tocsin_common.config import Section
from tocsin_common.decoding import decode
from tocsin_common.documents import (
    AlertRule,
    Document,
    Portfolio,
    PriceRule,
    SignalRule,
    Silence,
    Subscriber,
    encode,
)
from tocsin_common.errors import ConfigError, Malformed
from tocsin_common.events import DocumentKind
from tocsin_common.streams import ALERT_RULES, PORTFOLIOS, SEEDED, SILENCES, SUBSCRIBERS, Bucket
from tocsin_common.subjects import encode_token

MAX_DOCUMENTS = 10_000

STATED: dict[Bucket, DocumentKind] = {ALERT_RULES: "rule", SUBSCRIBERS: "subscriber", SILENCES: "silence"}
"""Of these it is stated who changed them."""

SeedResult = Literal["written", "unchanged", "kept"]


class SeedSection(Section):
    """Documents as in the buckets: lists of mappings. Their fields are checked by `documents`."""

    alert_rules: list[dict[str, Any]] = []
    subscribers: list[dict[str, Any]] = []
    silences: list[dict[str, Any]] = []
    portfolios: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Seed:
    """One checked document, its bucket and its own id there."""

    bucket: Bucket
    document_id: str
    document: Document

    @property
    def name(self) -> str:
        return f"{self.bucket.name}/{self.document_id}"

    @property
    def key(self) -> str:
        """Its key in `bucket`."""
        return encode_token(self.document_id)

    @property
    def value(self) -> bytes:
        return encode(self.document)


def check(section: SeedSection) -> list[Seed]:
    """Turn the section into documents. Raises ConfigError with every problem of every document."""
    problems: list[str] = []
    rules = _documents("alert_rules", section.alert_rules, AlertRule, problems)
    subscribers = _documents("subscribers", section.subscribers, Subscriber, problems)
    silences = _documents("silences", section.silences, Silence, problems)
    portfolios = _documents("portfolios", section.portfolios, Portfolio, problems)
    seeds = [
        *(Seed(SUBSCRIBERS, item.subscriber_id, item) for item in subscribers),
        *(Seed(ALERT_RULES, item.rule_id, item) for item in rules),
        *(Seed(SILENCES, item.silence_id, item) for item in silences),
        *(Seed(PORTFOLIOS, item.portfolio_id, item) for item in portfolios),
    ]
    problems += _twice(seeds) + _unknown_subscribers(rules, subscribers)
    if len(seeds) > MAX_DOCUMENTS:
        problems.append(f"seed: {len(seeds)} documents, at most {MAX_DOCUMENTS} may be seeded.")
    if problems:
        raise ConfigError(problems)
    return seeds


async def apply(bus: Bus, seeds: Sequence[Seed]) -> dict[str, SeedResult]:
    """Write the documents. Result by `bucket/id`. May be repeated, and killed anywhere."""
    return {seed.name: await _apply_one(bus, seed) for seed in seeds}


async def _apply_one(bus: Bus, seed: Seed) -> SeedResult:
    bucket, memory = bus.bucket(seed.bucket), bus.bucket(SEEDED)
    memory_key = f"{seed.bucket.name}.{seed.key}"
    entry, seeded = await bucket.get(seed.key), await memory.get(memory_key)
    ours = seeded.value if seeded else None
    result: SeedResult = "written"
    if entry is None and ours is not None:
        return "kept"
    if entry is None:
        await _write(bus, seed, 0)
    elif entry.value == seed.value:
        result = "unchanged"
    elif entry.value is not None and ours == _digest(entry.value):
        await _write(bus, seed, entry.revision)
    else:
        return "kept"
    if ours != _digest(seed.value):
        await memory.put(memory_key, _digest(seed.value))
    return result


async def _write(bus: Bus, seed: Seed, revision: int) -> None:
    """Write the document in place of a revision (0: there is none), and state it where that is done."""
    bucket, kind = bus.bucket(seed.bucket), STATED.get(seed.bucket)
    note = note_of(None, "seed", time.time_ns() // 1_000_000) if kind else ""
    if revision:
        written = await bucket.update(seed.key, seed.value, revision, note=note)
    else:
        written = await bucket.create(seed.key, seed.value, note=note)
    if kind:
        await bus.publish(changes_of(kind, Entry(seed.key, seed.value, written, note)))


def _documents(name: str, items: Sequence[dict[str, Any]], kind: Any, problems: list[str]) -> list[Any]:
    """Check each mapping as a document, noting what is wrong with those that are not."""
    found = []
    for position, item in enumerate(items):
        try:
            found.append(decode(json.dumps(item, default=str).encode(), kind))
        except Malformed as error:
            _, _, cause = str(error).partition(": ")
            problems.append(f"seed.{name}[{position}]: {cause[0].lower()}{cause[1:]}.")
    return found


def _twice(seeds: Sequence[Seed]) -> list[str]:
    names = [seed.name for seed in seeds]
    repeated = sorted(name for name in set(names) if names.count(name) > 1)
    return [f"seed.{name}: given {names.count(name)} times; ids are unique." for name in repeated]


def _unknown_subscribers(rules: Sequence[SignalRule | PriceRule], subscribers: Sequence[Subscriber]) -> list[str]:
    known = {subscriber.subscriber_id for subscriber in subscribers}
    return [
        f"seed.alert_rules/{rule.rule_id}.subscribers: {name!r} is not among seed.subscribers."
        for rule in rules
        for name in rule.subscribers
        if name not in known
    ]


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).hexdigest().encode()
