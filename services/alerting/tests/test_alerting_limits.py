"""How often a rule rings, in market time: per instrument, per candle, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.alerts import a_signal

from alerting.judging.limits import Rung
from alerting.matching.causes import Match
from alerting.matching.prices import Crossing
from tocsin_common.documents import AlertRule, PriceRule, SignalRule
from tocsin_common.events import SignalRaised

HOUR_MS = 3_600_000


def on_x(confirmed_ms: int, symbol: str = "A/B", timeframe: str = "1h") -> SignalRaised:
    return a_signal(confirmed_ms, exchange="x", symbol=symbol, timeframe=timeframe)


def crossing(ts_ms: int) -> Crossing:
    return Crossing("x", "A/B", 100.0, "above", 99.0, 101.0, ts_ms, str(ts_ms))


def rule(**given: Any) -> SignalRule:
    return SignalRule(rule_id="r", name="r", subscribers=[], **given)


def level(**given: Any) -> PriceRule:
    return PriceRule(rule_id="r", name="r", subscribers=[], exchange="x", symbol="A/B", level=100.0, **given)


def decisions(rung: Rung, rule: AlertRule, causes: Sequence[SignalRaised | Crossing]) -> list[str]:
    """For each cause in turn, `rings` or why not."""
    found = []
    for cause in causes:
        match = Match.of(rule, 1, cause, stored_ms=0)
        for line in rung.unknown([match]):
            rung.learn(line, None)
        reason = rung.too_soon(match)
        if reason is None:
            rung.note(match)
        found.append(str(reason or "rings"))
    return found


def test_a_rule_without_limits_always_rings_and_nothing_is_looked_up_for_it() -> None:
    rung = Rung()
    assert rung.unknown([Match.of(rule(), 1, on_x(0), stored_ms=0)]) == []
    assert decisions(rung, rule(), [on_x(HOUR_MS), on_x(HOUR_MS)]) == ["rings", "rings"]


def test_once_is_once_for_each_instrument() -> None:
    causes = [on_x(HOUR_MS), on_x(HOUR_MS, "C/D"), on_x(9 * HOUR_MS), on_x(9 * HOUR_MS, "C/D")]
    assert decisions(Rung(), rule(frequency="once"), causes) == ["rings", "rings", "once", "once"]


def test_at_most_every_counts_from_the_last_ring_and_not_from_what_it_spared() -> None:
    causes = [on_x(ts_ms) for ts_ms in (0, 9_000, 9_999, 10_000, 19_999, 20_000)]
    found = decisions(Rung(), rule(at_most_every_s=10), causes)
    assert found == ["rings", "too_often", "too_often", "rings", "too_often", "rings"]


def test_a_cooldown_is_for_all_instruments_of_the_rule() -> None:
    causes = [on_x(0), on_x(1_000, "C/D"), on_x(10_000, "C/D")]
    assert decisions(Rung(), rule(cooldown_s=10), causes) == ["rings", "cooldown", "rings"]
    assert decisions(Rung(), rule(at_most_every_s=10), causes) == ["rings", "rings", "too_often"]


def test_a_signal_belongs_to_the_candle_that_it_closes() -> None:
    causes = [on_x(HOUR_MS), on_x(HOUR_MS), on_x(2 * HOUR_MS)]
    assert decisions(Rung(), rule(frequency="once_per_candle"), causes) == ["rings", "same_candle", "rings"]


def test_a_price_belongs_to_the_candle_it_is_in() -> None:
    causes = [crossing(ts_ms) for ts_ms in (59_999, 60_000, 119_999, 120_000)]
    found = decisions(Rung(), level(frequency="once_per_candle"), causes)
    assert found == ["rings", "rings", "same_candle", "rings"]
    found = decisions(Rung(), level(frequency="once_per_candle", candle="1h"), causes)
    assert found == ["rings", "same_candle", "same_candle", "same_candle"]


def test_another_writing_of_a_rule_starts_anew() -> None:
    once, rung = rule(frequency="once"), Rung()
    assert decisions(rung, once, [on_x(0)]) == ["rings"]
    rung.settle()
    rewritten = Match.of(once, 2, on_x(HOUR_MS), stored_ms=0)
    [line] = rung.unknown([rewritten])
    rung.learn(line, None)
    assert rung.too_soon(rewritten) is None


@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=30).map(sorted),
    limits=st.fixed_dictionaries(
        {
            "frequency": st.sampled_from(["every", "once_per_candle"]),
            "at_most_every_s": st.sampled_from([0, 7, 60]),
            "cooldown_s": st.sampled_from([0, 13]),
        }
    ),
)
def test_between_two_rings_lies_all_that_the_rule_asks_for_and_nothing_else_is_spared(
    times: list[int], limits: dict[str, Any]
) -> None:
    asked = level(**limits)
    found = decisions(Rung(), asked, [crossing(second * 1000) for second in times])
    last: int | None = None
    for second, decision in zip(times, found, strict=True):
        enough = last is None or (
            second - last >= max(asked.at_most_every_s, asked.cooldown_s)
            and (asked.frequency == "every" or second // 60 > last // 60)
        )
        assert (decision == "rings") == enough
        last = second if enough else last


@given(times=st.lists(st.integers(0, 100), max_size=12).map(sorted), cut=st.integers(0, 12))
def test_a_batch_that_comes_again_is_decided_the_same(times: list[int], cut: int) -> None:
    seldom = level(at_most_every_s=10)
    causes = [crossing(second * 1000) for second in times]
    rung = Rung()
    first = decisions(rung, seldom, causes[:cut])
    rung.settle()
    second = decisions(rung, seldom, causes[cut:])
    rung.revert()
    assert decisions(rung, seldom, causes[cut:]) == second
    assert first + second == decisions(Rung(), seldom, causes)
