"""One clock from several replicas: it claims only what is true, never goes back, and no dead partition stops it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_ingest.partitions.merging import MarketClock, Report
from tocsin_common.events import ClockAdvanced

PATIENCE_S = 5.0


def report(replica: str, partitions: Any, time_ms: int, seq: int = 1, *, token: int = 1, **fields: Any) -> Report:
    tokens = dict.fromkeys(partitions, token)
    return Report(
        replica=replica,
        tokens=tokens,
        time_ms=time_ms,
        trades_seq=seq,
        candles_seq=seq,
        **{"trades_from_seq": seq, "candles_from_seq": seq, **fields},
    )


def clock(last: ClockAdvanced | None = None) -> MarketClock:
    return MarketClock(last, "live", patience_s=PATIENCE_S)


def mark_of(merged: MarketClock, now_s: float) -> ClockAdvanced:
    mark = merged.mark(now_s)
    assert mark is not None
    merged.marked(mark)
    return mark


def test_one_replica_alone_is_the_market() -> None:
    merged = clock()
    merged.take(report("a", range(64), 1_000, 7, trades_from_seq=3, candles_from_seq=2, totals={"late": 2}), 0)
    assert mark_of(merged, 0) == ClockAdvanced(
        stage="market",
        source="live",
        time_ms=1_000,
        trades_seq=7,
        candles_seq=7,
        trades_from_seq=3,
        candles_from_seq=2,
        totals={"late": 2},
        counted={"a": {"late": 2}},
    )
    assert merged.mark(0) is None


def test_the_time_is_the_earliest_and_the_sequences_are_the_greatest() -> None:
    merged = clock()
    merged.take(report("a", range(32), 1_000, 9, trades_from_seq=8), 0)
    merged.take(report("b", range(32, 64), 2_000, 5, trades_from_seq=4), 0)
    mark = mark_of(merged, 0)
    assert (mark.time_ms, mark.trades_seq, mark.trades_from_seq) == (1_000, 9, 4)


def test_a_partition_that_stands_still_is_left_behind_and_candles_go_on_meanwhile() -> None:
    merged = clock()
    merged.take(report("dead", [0], 1_000, 1), 0)
    merged.take(report("alive", [1], 1_000, 2), 0)
    assert mark_of(merged, 0).time_ms == 1_000
    merged.take(report("alive", [1], 5_000, 3), 4)
    mark = mark_of(merged, 4)
    assert (mark.time_ms, mark.candles_seq) == (1_000, 3)
    assert merged.left_behind(4) == frozenset()
    merged.take(report("alive", [1], 6_500, 4), 5.5)
    assert mark_of(merged, 5.5).time_ms == 6_500
    assert merged.left_behind(5.5) == {0}


def test_a_replica_that_reports_and_does_not_get_on_is_left_behind_too() -> None:
    merged = clock()
    for now_s in range(7):
        merged.take(report("stuck", [0], 1_000, 1), now_s)
        merged.take(report("alive", [1], 1_000 + 1_000 * now_s, 2), now_s)
    assert mark_of(merged, 6).time_ms == 7_000
    assert merged.left_behind(6) == {0}


def test_a_partition_with_a_new_owner_is_waited_for_again_once_it_is_near() -> None:
    merged = clock()
    merged.take(report("dead", [0], 1_000, 1), 0)
    merged.take(report("alive", [1], 20_000, 2), 10)
    assert mark_of(merged, 10).time_ms == 20_000
    merged.take(report("heir", [0], 2_000, 3, token=2), 10)
    assert merged.left_behind(10) == {0}
    merged.take(report("heir", [0], 21_000, 4, token=2), 11)
    merged.take(report("alive", [1], 22_000, 5), 11)
    assert merged.left_behind(11) == frozenset()
    assert mark_of(merged, 11).time_ms == 21_000


def test_a_former_owner_does_not_speak_for_a_partition_any_more() -> None:
    merged = clock()
    merged.take(report("new", [0], 5_000, 1, token=9), 0)
    merged.take(report("old", [0], 1_000, 1, token=3), 0)
    assert mark_of(merged, 0).time_ms == 5_000


def test_until_everybody_has_reported_a_new_conductor_keeps_where_restarts_begin() -> None:
    last = ClockAdvanced(
        stage="market", source="live", time_ms=1, trades_seq=50, candles_seq=50, trades_from_seq=10, candles_from_seq=9
    )
    merged = clock(last)
    merged.look_around({"a": frozenset({0, 1})}, {"a"})
    merged.take(report("a", [0], 2_000, 60, trades_from_seq=55, candles_from_seq=54), 0)
    mark = mark_of(merged, 0)
    assert (mark.trades_from_seq, mark.candles_from_seq) == (10, 9)
    merged.take(report("b", [1], 2_000, 61, trades_from_seq=56, candles_from_seq=57), 0)
    mark = mark_of(merged, 0)
    assert (mark.trades_from_seq, mark.candles_from_seq) == (55, 54)


def test_counts_are_in_the_totals_once_whoever_conducts() -> None:
    first = clock()
    first.take(report("a", [0], 1_000, 1, totals={"late": 3}), 0)
    first.take(report("b", [1], 1_000, 2, totals={"late": 1, "read": 5}), 0)
    first.take(report("a", [0], 2_000, 3, totals={"late": 4}), 0)
    mark = mark_of(first, 0)
    assert mark.totals == {"late": 5, "read": 5}
    second = clock(mark)
    second.take(report("a", [0], 2_000, 3, totals={"late": 4}), 0)
    second.take(report("b", [1], 3_000, 4, totals={"late": 2, "read": 5}), 0)
    second.look_around({}, {"b"})
    mark = mark_of(second, 0)
    assert mark.totals == {"late": 6, "read": 5}
    assert mark.counted == {"b": {"late": 2, "read": 5}}


def test_an_old_report_read_again_counts_nothing() -> None:
    merged = clock()
    merged.take(report("a", [0], 2_000, 2, totals={"late": 4}), 0)
    merged.take(report("a", [0], 1_000, 1, totals={"late": 1}), 0)
    assert mark_of(merged, 0).totals == {"late": 4}


def test_nobody_in_play_makes_no_mark() -> None:
    merged = clock()
    assert merged.mark(0) is None


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_whatever_happens_every_mark_is_true_of_what_is_not_left_behind(seed: int) -> None:
    """Replicas write, report late or never, die and are replaced, and so are conductors. The streams are the judge."""
    market = Market(random.Random(seed))
    merged, last = clock(), None
    for now_s in range(60):
        for sent in market.tick():
            merged.take(sent, now_s)
        if market.chance.random() < 0.05:
            merged = clock(last)
        mark = merged.mark(now_s)
        if mark is None:
            continue
        merged.marked(mark)
        assert last is None or mark.time_ms >= last.time_ms, f"seed {seed}"
        assert last is None or mark.trades_seq >= last.trades_seq, f"seed {seed}"
        if last is None or mark.time_ms > last.time_ms:
            for partition in merged.reported - merged.left_behind(now_s):
                late = [
                    seq for seq, at_ms in market.stored[partition] if at_ms < mark.time_ms and seq > mark.trades_seq
                ]
                assert not late, f"seed {seed}: partition {partition} at {now_s}"
        last = mark


class Market:
    """Four partitions, written by replicas that tell the truth about what they wrote, whenever it arrives."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.seq = 0
        self.token = 4
        self.time_ms = 10_000
        self.stored: dict[int, list[tuple[int, int]]] = {p: [] for p in range(4)}
        self.owners = {p: (f"r{p}", p + 1) for p in range(4)}
        self.times = dict.fromkeys(range(4), 0)

    def tick(self) -> list[Report]:
        """A second: everybody alive writes trades up to a time of its own, and some of the reports arrive."""
        self.time_ms += 1_000
        sent = []
        for partition, (name, token) in list(self.owners.items()):
            if self.chance.random() < 0.05:
                self.token += 1
                self.owners[partition] = (f"r{self.token}", self.token)
                continue
            if self.chance.random() < 0.2:
                continue
            through_ms = max(self.times[partition], self.time_ms - self.chance.randrange(2_000))
            for _ in range(self.chance.randrange(3)):
                if through_ms > self.times[partition]:
                    self.seq += 1
                    at_ms = self.chance.randrange(self.times[partition], through_ms)
                    self.stored[partition].append((self.seq, at_ms))
            self.times[partition] = through_ms
            if self.chance.random() < 0.8:
                sent.append(report(name, [partition], through_ms, self.seq, token=token))
        return sent


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_merging_the_same_reports_in_any_order_gives_the_same_mark(replicas: int) -> None:
    reports = [
        report(f"r{n}", range(n, 64, replicas), 1_000 + n, 10 - n, token=n + 1, totals={"late": n})
        for n in range(replicas)
    ]
    marks = []
    for seed in range(5):
        merged = clock()
        for one in random.Random(seed).sample(reports, replicas):
            merged.take(one, 0)
        marks.append(mark_of(merged, 0))
    assert all(mark == marks[0] for mark in marks)
