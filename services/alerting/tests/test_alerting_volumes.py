"""Candles of unusual volume."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.matching.rules import Rules
from alerting.matching.volumes import Spike, VolumeWatch
from alerting.words.render import of_spike
from alerting.words.voice import RECORD
from tocsin_common.documents import VolumeRule
from tocsin_common.events import CandlesClosed


def volume_rule(factor: float = 3.0, candles: int = 3, **given: Any) -> VolumeRule:
    fields = {"rule_id": "v", "name": "v", "subscribers": [], "exchange": "x", "symbol": "A/B", "timeframe": "5m"}
    return VolumeRule(**{**fields, "factor": factor, "candles": candles, **given})


def watch(*rules: VolumeRule) -> VolumeWatch:
    book = Rules()
    for rule in rules:
        book.put(rule)
    return VolumeWatch(book)


def candles(*volumes: float, first: int = 0, **given: Any) -> CandlesClosed:
    column = list(volumes)
    event = CandlesClosed(
        exchange="x",
        symbol="A/B",
        timeframe="5m",
        origin="trades",
        open_ms=[300_000 * (first + n) for n in range(len(column))],
        open=column,
        high=column,
        low=column,
        close=column,
        volume=column,
    )
    return msgspec.structs.replace(event, **given)


def spikes(watching: VolumeWatch, event: CandlesClosed) -> list[tuple[int, float]]:
    """Number and usual volume of each candle that rang."""
    return [(spike.ts_ms // 300_000 - 1, spike.mean) for _, spike in watching.in_candles(event)]


def test_rings_when_a_candle_has_so_many_times_the_mean_of_those_before_it() -> None:
    assert spikes(watch(volume_rule()), candles(1, 2, 3, 5.9, 20)) == [(4, pytest.approx(10.9 / 3))]
    assert spikes(watch(volume_rule()), candles(1, 2, 3, 6)) == [(3, 2.0)]


def test_nothing_rings_before_there_are_enough_candles_or_where_nothing_was_traded() -> None:
    assert spikes(watch(volume_rule()), candles(1, 1, 100)) == []
    assert spikes(watch(volume_rule()), candles(0, 0, 0, 100)) == []


def test_candles_of_the_past_teach_and_ring_nothing() -> None:
    watching = watch(volume_rule())
    assert spikes(watching, candles(1, 1, 1, 100, 1, 1, 1, origin="history")) == []
    assert spikes(watching, candles(3, first=7)) == [(7, 1.0)]


def test_corrections_and_candles_seen_before_are_passed_over() -> None:
    watching = watch(volume_rule())
    assert spikes(watching, candles(1, 1, 1)) == []
    assert spikes(watching, candles(100, 100, 100)) == []
    assert spikes(watching, candles(100, first=3, revision=1)) == []
    assert spikes(watching, candles(3, first=3)) == [(3, 1.0)]


def test_other_series_and_disabled_rules_ring_nothing_and_are_not_remembered() -> None:
    watching = watch(volume_rule(enabled=False), volume_rule(rule_id="w", timeframe="1h"))
    assert spikes(watching, candles(1, 1, 1, 100)) == []
    watching.recent.settle()
    assert not watching.recent.settled


def test_a_spike_reads_as_a_person_would_say_it() -> None:
    content = of_spike(Spike("binance", "BTC/USDT", "5m", 20, 100.0, 420.0, 64_000.0, 0), "my rule", RECORD)
    assert content.title == "BTC/USDT, 5m: 4.2 times the usual volume"
    assert content.text == "The 20 candles before it had 100 each, it had 420."


@given(volumes=st.lists(st.integers(0, 9), max_size=20), cut=st.integers(0, 20))
def test_rules_ring_what_each_alone_would_however_candles_are_grouped(volumes: list[int], cut: int) -> None:
    rules = [volume_rule(2.0, 2, rule_id="two"), volume_rule(1.5, 5, rule_id="five")]
    watching = watch(*rules)
    parts = [(0, volumes[:cut]), (len(volumes[:cut]), volumes[cut:])]
    events = [candles(*part, first=first) for first, part in parts if part]
    hits = [hit for event in events for hit in watching.in_candles(event)]
    found = [(rule.rule_id, spike.ts_ms // 300_000 - 1) for rule, spike in hits]
    expected = [
        (rule.rule_id, n)
        for rule in rules
        for n in range(rule.candles, len(volumes))
        if (mean := sum(volumes[n - rule.candles : n]) / rule.candles) and volumes[n] >= rule.factor * mean
    ]
    assert sorted(found) == sorted(expected)
