"""Which rules want which signals, outcomes and changes of feeds."""

from __future__ import annotations

import pytest
from tests.alerts import a_signal

from alerting.matching.rules import Rules
from tocsin_common.documents import FeedRule, OutcomeRule, PriceRule, SignalRule
from tocsin_common.events import FeedChanged, OutcomeMeasured, SignalRaised


def rule(rule_id: str = "r", **given: object) -> SignalRule:
    return SignalRule(rule_id=rule_id, name=rule_id, subscribers=["ada"], **given)  # type: ignore[arg-type]


def matched(rules: Rules, signal: SignalRaised) -> list[str]:
    return [found.rule_id for found in rules.for_signal(signal)]


def test_a_rule_without_conditions_wants_every_signal() -> None:
    rules = Rules()
    rules.put(rule())
    assert matched(rules, a_signal()) == ["r"]
    assert matched(rules, a_signal(symbol="ETH/BTC", side="short", exchange="kraken")) == ["r"]


@pytest.mark.parametrize(
    ("condition", "other"),
    [
        ({"exchanges": ["binance", "okx"]}, {"exchange": "kraken"}),
        ({"symbols": ["BTC/USDT"]}, {"symbol": "BTC/USDT:USDT"}),
        ({"strategies": ["ema_cross"]}, {"strategy": "donchian"}),
        ({"timeframes": ["1h"]}, {"timeframe": "4h"}),
        ({"sides": ["long"]}, {"side": "short"}),
        ({"min_confidence": 70}, {"confidence": 69}),
    ],
)
def test_every_condition_must_hold(condition: dict[str, object], other: dict[str, object]) -> None:
    rules = Rules()
    rules.put(rule(**condition))
    assert matched(rules, a_signal()) == ["r"]
    assert matched(rules, a_signal(**other)) == []


def test_a_disabled_rule_wants_nothing() -> None:
    rules = Rules()
    rules.put(rule(enabled=False))
    assert matched(rules, a_signal()) == []


def test_a_changed_rule_is_asked_anew() -> None:
    rules = Rules()
    rules.put(rule(timeframes=["1h"]))
    assert matched(rules, a_signal()) == ["r"]
    rules.put(rule(timeframes=["4h"]))
    assert matched(rules, a_signal()) == []
    rules.put(rule("second"))
    assert matched(rules, a_signal()) == ["second"]
    rules.drop("second")
    assert matched(rules, a_signal()) == []


def test_price_rules_are_sorted_by_level_per_instrument() -> None:
    rules = Rules()
    for number, level in enumerate([3.0, 1.0, 2.0]):
        rules.put(PriceRule(rule_id=f"p{number}", name="p", subscribers=[], exchange="x", symbol="A/B", level=level))
    rules.put(PriceRule(rule_id="off", name="p", subscribers=[], exchange="x", symbol="A/B", level=1.5, enabled=False))
    levels = rules.levels_of(("x", "A/B"))
    assert levels is not None
    assert levels.levels.tolist() == [1.0, 2.0, 3.0]
    assert [mark.rule.rule_id for mark in levels.marks] == ["p1", "p2", "p0"]
    assert rules.levels_of(("x", "B/A")) is None


def ended(**given: object) -> OutcomeMeasured:
    fields = {
        "signal_id": "s",
        "strategy": "ema_cross",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "side": "long",
        "result": "target_2",
        "confirmed_ms": 0,
        "ended_ms": 1,
        "exit_price": 1.0,
        "r_multiple": 2.0,
        "mfe_r": 2.0,
        "mae_r": 0.0,
        "targets_hit": 2,
        "basis": "trades",
    }
    return OutcomeMeasured(**{**fields, **given})  # type: ignore[arg-type]  # test data by name


@pytest.mark.parametrize(
    ("condition", "other"),
    [
        ({}, None),
        ({"results": ["target"]}, {"result": "stop"}),
        ({"results": ["target", "expired"]}, {"result": "invalidated"}),
        ({"strategies": ["ema_cross"], "sides": ["long"]}, {"side": "short"}),
        ({"timeframes": ["1h"]}, {"timeframe": "4h"}),
    ],
)
def test_an_outcome_rule_wants_how_some_signals_end(
    condition: dict[str, object], other: dict[str, object] | None
) -> None:
    rules = Rules()
    rules.put(rule())
    wanting = OutcomeRule(rule_id="o", name="o", subscribers=[], **condition)  # type: ignore[arg-type]
    rules.put(wanting)
    assert rules.for_outcome(ended()) == [wanting]
    assert rules.for_outcome(ended(result="target_1")) == [wanting]
    assert other is None or rules.for_outcome(ended(**other)) == []


@pytest.mark.parametrize(
    ("condition", "other"),
    [
        ({}, None),
        ({"states": ["stale", "gap_unfilled"]}, {"state": "connected"}),
        ({"exchanges": ["binance"]}, {"exchange": "okx"}),
        ({"symbols": ["BTC/USDT"]}, {"symbol": None}),
    ],
)
def test_a_feed_rule_wants_some_changes_of_feeds(condition: dict[str, object], other: dict[str, object] | None) -> None:
    rules = Rules()
    wanting = FeedRule(rule_id="f", name="f", subscribers=[], **condition)  # type: ignore[arg-type]
    rules.put(wanting)
    stale = {"exchange": "binance", "symbol": "BTC/USDT", "state": "stale", "ts_ms": 1}
    assert rules.for_feed(FeedChanged(**stale)) == [wanting]  # type: ignore[arg-type]
    assert other is None or rules.for_feed(FeedChanged(**{**stale, **other})) == []  # type: ignore[arg-type]


def test_a_disabled_rule_of_any_kind_wants_nothing() -> None:
    rules = Rules()
    rules.put(OutcomeRule(rule_id="o", name="o", subscribers=[], enabled=False))
    rules.put(FeedRule(rule_id="f", name="f", subscribers=[], enabled=False))
    assert rules.for_outcome(ended()) == []
    assert rules.for_feed(FeedChanged(exchange="x", symbol=None, state="stale", ts_ms=1)) == []


def test_a_change_of_a_rule_is_seen_where_it_watched_and_where_it_watches_now() -> None:
    rules = Rules()
    tied = {"name": "p", "subscribers": [], "exchange": "x", "level": 1.0}
    rules.put(PriceRule(rule_id="p", symbol="A/B", **tied))  # type: ignore[arg-type]
    rules.put(PriceRule(rule_id="q", symbol="A/B", **tied))  # type: ignore[arg-type]
    untouched = rules.levels_of(("x", "A/B"))
    rules.put(PriceRule(rule_id="p", symbol="C/D", **tied))  # type: ignore[arg-type]
    moved = rules.levels_of(("x", "C/D"))
    assert moved is not None
    assert [mark.rule.rule_id for mark in moved.marks] == ["p"]
    left = rules.levels_of(("x", "A/B"))
    assert left is not None
    assert left is not untouched
    assert [mark.rule.rule_id for mark in left.marks] == ["q"]
    rules.put(rule("signals"))
    assert rules.levels_of(("x", "A/B")) is left, "what others watch is not sorted anew"
    rules.drop("q")
    assert rules.levels_of(("x", "A/B")) is None
