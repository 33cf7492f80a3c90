"""What the stream of alerts remembers of rules that may not ring too often."""

from __future__ import annotations

from alerting.judging.limits import Rung
from alerting.judging.recall import recall
from alerting.matching.causes import Match
from alerting.matching.prices import Crossing
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.lookups import AT_A_TIME
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import PriceRule
from tocsin_common.events import AlertRaised


def match(rule_id: str, symbol: str, ts_ms: int, *, revision: int = 1, cooldown_s: int = 0) -> Match:
    """A match of a rule that rings once on each symbol."""
    rule = PriceRule(
        rule_id=rule_id,
        name=rule_id,
        subscribers=[],
        exchange="x",
        symbol=symbol,
        level=1.0,
        frequency="once",
        cooldown_s=cooldown_s,
    )
    return Match.of(rule, revision, Crossing("x", symbol, 1.0, "above", 0.9, 1.1, ts_ms, str(ts_ms)), stored_ms=0)


def raised(match: Match) -> AlertRaised:
    return AlertRaised(
        alert_id=match.alert_id,
        rule_id=match.rule.rule_id,
        kind="price",
        cause_id=match.cause_id,
        ts_ms=match.ts_ms,
        exchange=match.exchange,
        symbol=match.symbol,
        title="",
        text="",
        fields={},
        subscribers=[],
        rule_revision=match.revision,
    )


async def reason(bus: Bus, asked: Match) -> str | None:
    rung = Rung()
    await recall(bus, rung, [asked])
    return rung.too_soon(asked)


async def lines_are_found(bus: Bus) -> None:
    await bus.publish([raised(match("a rule: 50 %", "A/B:B", 1_000)), raised(match("other", "", 2_000))])
    assert await reason(bus, match("a rule: 50 %", "A/B:B", 9_000)) == "once"
    assert await reason(bus, match("a rule: 50 %", "A/B", 9_000)) is None
    assert await reason(bus, match("a rule: 50 %", "A/B", 9_000, cooldown_s=9)) == "cooldown"
    assert await reason(bus, match("a rule: 50 %", "A/B", 10_000, cooldown_s=9)) is None
    assert await reason(bus, match("a rule: 50 %", "A/B:B", 9_000, revision=2, cooldown_s=9)) is None
    assert await reason(bus, match("other", "", 9_000)) == "once"


async def test_a_line_is_a_writing_of_a_rule_on_an_instrument_or_on_all(memory_bus: MemoryBus) -> None:
    await lines_are_found(memory_bus)


async def test_the_server_finds_the_same_lines(jetstream_bus: JetStreamBus) -> None:
    await lines_are_found(jetstream_bus)


async def test_many_lines_are_learned_at_once_and_each_only_once(memory_bus: MemoryBus) -> None:
    asked = [match(f"r{n}", "A/B", 9_000) for n in range(2 * AT_A_TIME + 1)]
    await memory_bus.publish([raised(match(f"r{n}", "A/B", 1_000)) for n in range(0, len(asked), 2)])
    rung = Rung()
    await recall(memory_bus, rung, asked)
    assert rung.unknown(asked) == []
    assert [rung.too_soon(one) for one in asked] == [None if n % 2 else "once" for n in range(len(asked))]
