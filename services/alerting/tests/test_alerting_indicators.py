"""Rules on indicators of closed candles: by example, and whatever the batches and restarts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.matching.indicators import Reached
from alerting.matching.prices import always, never
from alerting.matching.rules import Rules
from alerting.matching.watch import Memory, Watch
from alerting.words.render import of_reached
from alerting.words.voice import RECORD
from tocsin_common.decoding import decode
from tocsin_common.documents import AlertRule, IndicatorRule
from tocsin_common.errors import Malformed
from tocsin_common.events import IndicatorsComputed

HOUR_MS = 3_600_000


def a_rule(operator: str = "below", right: float | str = 30.0, **given: Any) -> IndicatorRule:
    fields = {"rule_id": "i", "name": "i", "subscribers": [], "left": "rsi_14"}
    return IndicatorRule(**{**fields, "operator": operator, "right": right, **given})


def reading(hour: int, *, close: float = 100.0, symbol: str = "A/B", **values: float) -> IndicatorsComputed:
    return IndicatorsComputed(
        exchange="x", symbol=symbol, timeframe="1h", open_ms=hour * HOUR_MS, close=close, values=values
    )


def book(*rules: IndicatorRule) -> Rules:
    found = Rules()
    for rule in rules:
        found.put(rule, revision=1)
    return found


def rung(watch: Watch, *events: IndicatorsComputed) -> list[int]:
    """The hours of the candles that rang."""
    causes = [cause for event in events for _, cause in watch.find(event, always)]
    return [cause.ts_ms // HOUR_MS - 1 for cause in causes]


def of_rsi(watch: Watch, *values: float) -> list[int]:
    return rung(watch, *(reading(hour, rsi_14=value) for hour, value in enumerate(values)))


def test_rings_as_soon_as_it_is_below_and_again_after_it_was_not() -> None:
    assert of_rsi(Watch(book(a_rule())), 25, 24, 31, 29, 30, 28) == [0, 3, 5]


def test_what_crosses_was_not_so_on_the_candle_before() -> None:
    assert of_rsi(Watch(book(a_rule("crosses_below"))), 25, 24, 31, 29, 28, 30, 20) == [3, 6]
    assert of_rsi(Watch(book(a_rule("crosses_above", 70))), 75, 65, 71, 70, 72) == [2, 4]


def test_two_columns_are_compared_candle_by_candle() -> None:
    watch = Watch(book(a_rule("crosses_above", "ema_200", left="close")))
    closes, averages = [99.0, 101.0, 102.0, 99.0, 99.5], [100.0, 100.0, 103.0, 100.0, 99.0]
    rows = enumerate(zip(closes, averages, strict=True))
    assert rung(watch, *(reading(hour, close=close, ema_200=ema) for hour, (close, ema) in rows)) == [1, 4]


def test_with_a_distance_it_is_armed_again_only_that_far_away() -> None:
    assert of_rsi(Watch(book(a_rule(rearm_percent=10))), 29, 31, 29, 33, 29) == [0, 4]
    assert of_rsi(Watch(book(a_rule("crosses_below", rearm_percent=10))), 31, 29, 31, 29, 33, 29) == [1, 5]


def test_a_column_that_is_not_warm_tells_nothing() -> None:
    watch = Watch(book(a_rule("crosses_below")))
    assert rung(watch, reading(0, ema_200=1.0), reading(1, rsi_14=25.0), reading(2, rsi_14=31.0)) == []
    assert rung(watch, reading(3, ema_200=1.0), reading(4, rsi_14=25.0)) == [], "the candle before is not known"
    assert rung(watch, reading(5, rsi_14=31.0), reading(6, rsi_14=25.0)) == [6]


def test_a_candle_that_is_not_newer_is_passed_over() -> None:
    watch = Watch(book(a_rule()))
    assert rung(watch, reading(5, rsi_14=25.0), reading(5, rsi_14=35.0), reading(4, rsi_14=35.0)) == [5]
    assert rung(watch, reading(6, rsi_14=25.0)) == []


def test_every_market_is_counted_by_itself_and_others_are_not_looked_at() -> None:
    watch = Watch(book(a_rule(symbols=["A/B", "C/D"])))
    events = [reading(0, symbol=symbol, rsi_14=25.0) for symbol in ("A/B", "C/D", "E/F")]
    assert [cause.symbol for event in events for _, cause in watch.find(event, always)] == ["A/B", "C/D"]
    watch.settle()
    assert len(watch.memory().readings) == 2


def test_what_only_teaches_does_not_have_to_be_armed_again() -> None:
    watch = Watch(book(a_rule()))
    assert list(watch.find(reading(0, rsi_14=25.0), never)) == []
    assert rung(watch, reading(1, rsi_14=24.0)) == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"left": "rsi_14", "right": "rsi_14"},
        {"left": "RSI(14)", "right": 30},
        {"left": "rsi_14", "right": "30"},
        {"left": "rsi_14", "right": 30, "operator": "is"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    fields = {"kind": "indicator", "rule_id": "i", "name": "i", "subscribers": [], "operator": "below", **wrong}
    with pytest.raises(Malformed):
        decode(msgspec.json.encode(fields), AlertRule)  # type: ignore[arg-type]  # a union is a type to msgspec only


def test_an_alert_names_both_sides_as_people_do() -> None:
    reached = Reached("binance", "BTC/USDT", "1h", "close", "crosses_above", "ema_200", 64_100.0, 64_000.5, 64_100.0, 0)
    content = of_reached(reached, "my rule", RECORD)
    assert content.title == "BTC/USDT, 1h: Close crossed above EMA 200"
    assert (content.fields["Close"], content.fields["EMA 200"]) == ("64,100", "64,000.5")
    number = Reached("binance", "BTC/USDT", "1h", "rsi_14", "below", 30.0, 28.4, 30.0, 64_100.0, 0)
    assert of_reached(number, "my rule", RECORD).title == "BTC/USDT, 1h: RSI 14 is below 30"


VALUES = st.lists(st.integers(25, 35), max_size=25)
OPERATORS = st.sampled_from(["below", "above", "crosses_below", "crosses_above"])


@given(values=VALUES, operator=OPERATORS, rearm=st.sampled_from([0.0, 10.0]), cuts=st.lists(st.integers(0, 25)))
def test_restarts_and_repeated_batches_change_nothing(
    values: list[int], operator: str, rearm: float, cuts: list[int]
) -> None:
    rules = book(a_rule(operator, rearm_percent=rearm))
    events = [reading(hour, rsi_14=float(value)) for hour, value in enumerate(values)]
    whole, parts, watch, start = rung(Watch(rules), *events), [], Watch(rules), 0
    for end in [*sorted(cuts), len(events)]:
        rung(watch, *events[start:end])
        watch.revert()
        parts += rung(watch, *events[start:end])
        watch.settle()
        memory = msgspec.json.decode(msgspec.json.encode(watch.memory()), type=Memory)
        watch = Watch(rules)
        watch.restore(memory)
        start = max(start, end)
    assert parts == whole
