"""Seeds: every mistake at once, written once, and never over what a person changed."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.seed import SeedSection, apply, check
from tocsin.settings import DEMO_CONFIG, check_everything, environment, load_own
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.decoding import decode
from tocsin_common.documents import Portfolio
from tocsin_common.errors import ConfigError
from tocsin_common.events import DocumentChanged
from tocsin_common.streams import ALERT_RULES, MANAGEMENT, PORTFOLIOS

SUBSCRIBER = {"subscriber_id": "me", "name": "me", "destinations": [{"channel": "console", "address": "x"}]}
RULE = {"kind": "signal", "rule_id": "all", "name": "all", "subscribers": ["me"]}


def section(**documents: list[dict[str, Any]]) -> SeedSection:
    return SeedSection(**{"subscribers": [SUBSCRIBER], "alert_rules": [RULE], **documents})


def test_the_packaged_demo_is_valid_for_every_service() -> None:
    carried = environment(DEMO_CONFIG, {})
    check_everything(carried)
    settings, seeds = load_own(carried)
    assert {seed.name for seed in seeds} >= {"subscribers/me", "portfolios/demo"}
    assert settings.nats_url is None  # no URL: embedded


def test_every_mistake_is_told_at_once() -> None:
    wrong = section(
        alert_rules=[
            {**RULE, "min_confidence": 101},
            {**RULE, "kind": "dream"},
            {**RULE, "subscribers": ["nobody"]},
        ],
        portfolios=[{"portfolio_id": "p", "cash": "much"}, {"portfolio_id": "q"}, {"portfolio_id": "q"}],
    )
    with pytest.raises(ConfigError) as caught:
        check(wrong)
    text = "\n".join(caught.value.problems)
    assert "seed.alert_rules[0]: expected `int` <= 100" in text
    assert "seed.alert_rules[1]: invalid value 'dream' - at `$.kind`; it may be signal, outcome, feed, price, " in text
    assert "seed.alert_rules/all.subscribers: 'nobody' is not among seed.subscribers" in text
    assert "seed.portfolios[0]: " in text
    assert "seed.portfolios/q: given 2 times" in text
    assert len(caught.value.problems) == 5


def test_yaml_numbers_become_exact_decimals() -> None:
    (seed,) = check(SeedSection(portfolios=[{"portfolio_id": "p", "fee_rate": 0.1}]))
    assert str(decode(seed.value, Portfolio).fee_rate) == "0.1"


async def test_a_document_is_written_once(memory_bus: MemoryBus) -> None:
    seeds = check(section())
    assert set((await apply(memory_bus, seeds)).values()) == {"written"}
    assert set((await apply(memory_bus, seeds)).values()) == {"unchanged"}


async def test_a_changed_configuration_changes_the_document(memory_bus: MemoryBus) -> None:
    await apply(memory_bus, check(section(portfolios=[{"portfolio_id": "p", "cash": 1}])))
    results = await apply(memory_bus, check(section(portfolios=[{"portfolio_id": "p", "cash": 2}])))
    assert results["portfolios/p"] == "written"
    entry = await memory_bus.bucket(PORTFOLIOS).get("p")
    assert entry is not None
    assert entry.value is not None
    assert decode(entry.value, Portfolio).cash == 2


async def test_what_a_person_changed_is_kept(memory_bus: MemoryBus) -> None:
    await apply(memory_bus, check(section()))
    await memory_bus.bucket(ALERT_RULES).put("all", b'{"theirs": true}')
    changed = check(section(alert_rules=[{**RULE, "min_confidence": 50}]))
    assert (await apply(memory_bus, changed))["alert_rules/all"] == "kept"
    entry = await memory_bus.bucket(ALERT_RULES).get("all")
    assert entry is not None
    assert entry.value == b'{"theirs": true}'


async def test_a_kill_between_a_document_and_its_note_leaves_a_document_that_is_still_ours(
    memory_bus: MemoryBus,
) -> None:
    (seed,) = check(SeedSection(portfolios=[{"portfolio_id": "p", "cash": 1}]))
    await memory_bus.bucket(PORTFOLIOS).put("p", seed.value)
    assert await apply(memory_bus, [seed]) == {"portfolios/p": "unchanged"}
    changed = check(SeedSection(portfolios=[{"portfolio_id": "p", "cash": 2}]))
    assert await apply(memory_bus, changed) == {"portfolios/p": "written"}


async def test_a_document_that_a_person_deleted_stays_deleted(memory_bus: MemoryBus) -> None:
    seeds = check(section())
    await apply(memory_bus, seeds)
    await memory_bus.bucket(ALERT_RULES).delete("all")
    assert (await apply(memory_bus, seeds))["alert_rules/all"] == "kept"


SILENCE = {"silence_id": "upkeep", "starts_ms": 0, "ends_ms": 1, "author": "ann"}


async def test_silences_are_seeded_too_and_it_is_stated_who_wrote_what(memory_bus: MemoryBus) -> None:
    seeds = check(section(silences=[SILENCE]))
    await apply(memory_bus, seeds)
    await apply(memory_bus, seeds)
    changes = [message.event() for message in await memory_bus.reader(MANAGEMENT, after=0).through(99)]
    assert [(one.kind, one.id, one.via) for one in changes if isinstance(one, DocumentChanged)] == [
        ("subscriber", "me", "seed"),
        ("rule", "all", "seed"),
        ("silence", "upkeep", "seed"),
    ]


def test_a_malformed_silence_is_named() -> None:
    with pytest.raises(ConfigError, match=r"seed.silences\[0\]: .*ends_ms"):
        check(section(silences=[{"silence_id": "upkeep", "starts_ms": 0, "author": "ann"}]))
