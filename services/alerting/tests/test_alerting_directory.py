"""Rules, subscribers and silences from their buckets: current while running, unharmed by a malformed neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from alerting.directory import Directory
from alerting.metrics import Metrics
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, SignalRule, Silence, Subscriber, encode
from tocsin_common.streams import ALERT_RULES, SILENCES, SUBSCRIBERS
from tocsin_common.subjects import encode_token


def rule(rule_id: str) -> SignalRule:
    return SignalRule(rule_id=rule_id, name=rule_id, subscribers=["ada"])


ADA = Subscriber(subscriber_id="ada", name="Ada", destinations=[Destination(channel="console", address="here")])

UPKEEP = Silence(silence_id="upkeep", starts_ms=0, ends_ms=1, author="ann")


def directory(bus: Bus) -> tuple[Directory, CollectorRegistry]:
    registry = CollectorRegistry()
    return Directory(bus, Metrics(registry)), registry


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for announces nothing
            await asyncio.sleep(0)


async def test_everything_there_is_is_known_after_loading(memory_bus: MemoryBus) -> None:
    await memory_bus.bucket(ALERT_RULES).put(encode_token("my rule!"), encode(rule("my rule!")))
    await memory_bus.bucket(SUBSCRIBERS).put("ada", encode(ADA))
    known, _ = directory(memory_bus)
    await known.load()
    assert len(known.rules) == 1
    assert known.rules.revision(rule("my rule!")) == 1
    assert known.subscribers == {"ada": ADA}


async def changes_are_followed(bus: Bus) -> None:
    known, _ = directory(bus)
    stop = asyncio.Event()
    await bus.bucket(ALERT_RULES).put("a", encode(rule("a")))
    await known.load()
    following = asyncio.create_task(known.follow(stop))
    await bus.bucket(ALERT_RULES).put("b", encode(rule("b")))
    await bus.bucket(SUBSCRIBERS).put("ada", encode(ADA))
    await bus.bucket(SILENCES).put("upkeep", encode(UPKEEP))
    await until(lambda: len(known.rules) == 2 and "ada" in known.subscribers and len(known.silences) == 1)
    await bus.bucket(ALERT_RULES).delete("a")
    await bus.bucket(SUBSCRIBERS).delete("ada")
    await bus.bucket(SILENCES).delete("upkeep")
    await until(lambda: len(known.rules) == 1 and not known.subscribers and not known.silences)
    stop.set()
    await asyncio.wait_for(following, 5)


async def test_changes_are_followed_in_memory(memory_bus: MemoryBus) -> None:
    await changes_are_followed(memory_bus)


async def test_changes_are_followed_on_jetstream(jetstream_bus: JetStreamBus) -> None:
    await changes_are_followed(jetstream_bus)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (
            "bad",
            b'{"kind":"signal","rule_id":"bad","name":"n","subscribers":[],"min_confidence":101}',
            "min_confidence",
        ),
        ("bad", b'{"kind":"signal","rule_id":"bad","name":"n","subscribers":[],"colour":"red"}', "colour"),
        ("bad", b'{"kind":"price","rule_id":"bad","name":"n","subscribers":[]}', "exchange"),
        ("bad", b'{"kind":"smell"}', "kind"),
        (
            "bad",
            b'{"kind":"price","rule_id":"bad","active_hours":{"start":"9:00","end":"10:00","zone":"Mars/Base"}}',
            "active_hours",
        ),
        ("bad", b"\xff", "bad"),
        ("bad", b'{"kind":"signal","rule_id":"other","name":"n","subscribers":[]}', "rule_id"),
    ],
)
async def test_a_malformed_rule_is_named_counted_and_passed_over(
    memory_bus: MemoryBus, capsys: pytest.CaptureFixture[str], key: str, value: bytes, named: str
) -> None:
    await memory_bus.bucket(ALERT_RULES).put("good", encode(rule("good")))
    await memory_bus.bucket(ALERT_RULES).put(key, value)
    known, registry = directory(memory_bus)
    await known.load()
    assert len(known.rules) == 1
    said = capsys.readouterr().out
    assert "alert_rules" in said
    assert key in said
    assert named in said
    assert registry.get_sample_value("alerting_documents_ignored_total", {"bucket": "alert_rules"}) == 1


async def test_a_malformed_change_leaves_what_was_valid_in_force(memory_bus: MemoryBus) -> None:
    known, _ = directory(memory_bus)
    await memory_bus.bucket(SUBSCRIBERS).put("ada", encode(ADA))
    await known.load()
    await memory_bus.bucket(SUBSCRIBERS).put("ada", b'{"subscriber_id":"ada","name":"Ada","destinations":[{}]}')
    await known.load()
    assert known.subscribers == {"ada": ADA}
