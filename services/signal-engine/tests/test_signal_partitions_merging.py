"""One mark from the reports of several replicas: it claims only what is true, and never goes back."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from signal_engine.partitions.merging import Report, SignalsClock
from tocsin_common.events import ClockAdvanced

EVERYTHING = range(64)


def market(number: int) -> ClockAdvanced:
    """The market mark of this number."""
    return ClockAdvanced(stage="market", source="live", time_ms=number * 1_000, trades_seq=number, candles_seq=number)


def report(replica: str, partitions: Iterable[int], number: int, signals_seq: int, *, token: int = 1) -> Report:
    covered = msgspec.structs.replace(market(number), stage="signals", signals_seq=signals_seq)
    return Report(replica=replica, tokens=dict.fromkeys(partitions, token), covered=covered)


def marked(clock: SignalsClock) -> tuple[int, int] | None:
    """Number and sequence of the mark that can be made now, which is made."""
    mark = clock.mark(0)
    if mark is None:
        return None
    clock.marked(mark)
    return mark.candles_seq, mark.signals_seq


def test_one_replica_alone_passes_every_mark_on() -> None:
    clock = SignalsClock(None)
    for number in (1, 2, 3):
        clock.take(report("a", EVERYTHING, number, 10 * number), 0)
        assert marked(clock) == (number, 10 * number)
        assert marked(clock) is None


def test_a_mark_is_the_oldest_reported_with_the_greatest_sequence() -> None:
    clock = SignalsClock(None)
    clock.take(report("a", range(32), 5, 70), 0)
    assert marked(clock) is None, "nothing is known of the other half"
    clock.take(report("b", range(32, 64), 3, 90), 0)
    assert marked(clock) == (3, 90)
    clock.take(report("b", range(32, 64), 6, 91), 0)
    assert marked(clock) == (5, 91)


def test_a_partition_whose_owner_died_holds_the_mark_until_the_next_owner_has_caught_up() -> None:
    clock = SignalsClock(None)
    clock.take(report("a", range(32), 3, 9), 0)
    clock.take(report("b", range(32, 64), 3, 9), 0)
    assert marked(clock) == (3, 9)
    clock.take(report("a", range(32), 8, 12), 1_000)
    assert marked(clock) is None
    clock.take(report("a", range(32, 64), 3, 9, token=2), 2_000)
    assert marked(clock) is None
    clock.take(report("a", EVERYTHING, 8, 15, token=2), 2_000)
    assert marked(clock) == (8, 15)


def test_what_a_former_owner_says_counts_no_more() -> None:
    clock = SignalsClock(None)
    clock.take(report("new", EVERYTHING, 3, 9, token=7), 0)
    clock.take(report("old", EVERYTHING, 5, 9, token=6), 0)
    assert marked(clock) == (3, 9)
    assert clock.is_replaced(report("old", EVERYTHING, 5, 9, token=6))
    assert not clock.is_replaced(report("new", EVERYTHING, 3, 9, token=7))


def test_a_new_conductor_goes_on_behind_the_last_mark() -> None:
    last = msgspec.structs.replace(market(6), stage="signals", signals_seq=40)
    clock = SignalsClock(last)
    clock.take(report("a", EVERYTHING, 5, 30), 0)
    assert marked(clock) is None
    clock.take(report("a", EVERYTHING, 7, 30), 0)
    assert marked(clock) == (7, 40)


REPORTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)), max_size=40)


@given(REPORTS)
def test_a_mark_claims_nothing_that_no_owner_has_said_and_never_goes_back(steps: list[tuple[int, int, int]]) -> None:
    """Four quarters of the partitions; each step one quarter's owner moves on, perhaps after a take-over."""
    clock, said, tokens, signals_seq = SignalsClock(None), [0] * 4, [1] * 4, 0
    made: list[tuple[int, int]] = []
    for quarter, take_over, forward in steps:
        tokens[quarter] += take_over
        signals_seq += forward
        number = (made[-1][0] if made and take_over else said[quarter]) + forward
        said[quarter] = max(said[quarter], number)
        partitions = range(quarter * 16, quarter * 16 + 16)
        clock.take(report(str(quarter), partitions, number, signals_seq, token=tokens[quarter]), 0)
        mark = marked(clock)
        if mark is not None:
            assert mark[0] <= min(said)
            assert mark[1] == signals_seq
            assert not made or (mark[0] > made[-1][0] and mark[1] >= made[-1][1])
            made.append(mark)
