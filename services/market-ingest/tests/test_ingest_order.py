"""The order of a file's rows: with any keys, times and faults, before every position lies what happened before."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market_ingest.sources.order import Order, key_starts, only_rises
from market_ingest.validate import ACCEPTED, BAD_PRICE, REASONS

KEYS = 3

rows = st.lists(
    st.tuples(st.integers(0, KEYS - 1), st.integers(0, 6), st.sampled_from([ACCEPTED, ACCEPTED, BAD_PRICE])),
    min_size=1,
    max_size=30,
)
"""Key, time and code of each row."""

Given = list[tuple[int, int, int]]


def ordered(table: Given) -> Order:
    keys, at_ms, code = (np.array(column) for column in zip(*table, strict=True))
    return Order.of(keys.astype(np.int32), KEYS, code.astype(np.uint8), at_ms)


def as_it_is(table: Given) -> Order:
    """The order of a table that is sorted by key and time, none of it refused."""
    keys, at_ms = (np.array([row[column] for row in table]) for column in (0, 1))
    starts = key_starts(keys.astype(np.int32), np.ones(len(keys), np.int64), KEYS)
    assert starts is not None
    assert only_rises(at_ms, starts, strictly=False)
    return Order.as_it_is(starts, at_ms)


def check(order: Order, table: Given, cuts: list[int]) -> None:
    """Compare what lies between each two positions with the rows in the order of their times."""
    happening = sorted(range(len(table)), key=lambda at: table[at][1])
    places = order.accepted_rows.tolist()
    for first, end in pairwise(cuts):
        found, refused = order.between(slice(first, end))
        there = happening[first:end]
        assert {key: places[slice(*span)] for key, span in found} == {
            key: accepted
            for key in range(KEYS)
            if (accepted := [at for at in there if table[at][0] == key and table[at][2] == ACCEPTED])
        }
        bad = [at for at in there if table[at][2] == BAD_PRICE]
        assert refused == ({REASONS[BAD_PRICE]: len(bad)} if bad else {})
    assert order.at_ms.tolist() == [table[at][1] for at in happening]


@given(rows, st.data())
def test_rows_between_two_positions_are_those_that_happen_there(table: Given, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(table)))) | {0, len(table)})
    check(ordered(table), table, cuts)
    tidy = [(key, at_ms, ACCEPTED) for key, at_ms, _ in sorted(table)]
    check(as_it_is(tidy), tidy, cuts)


def test_what_falls_elsewhere_than_between_keys_is_not_in_order() -> None:
    values = np.array([1, 2, 2, 1, 5])
    assert only_rises(values, [0, 3], strictly=False)
    assert not only_rises(values, [0, 3], strictly=True)
    assert not only_rises(values, [0, 2], strictly=False)


def test_runs_that_come_again_are_not_in_order_of_their_keys() -> None:
    ones = np.ones(3, np.int64)
    assert key_starts(np.array([0, 2, 2], np.int32), ones, 4) == [0, 1, 1, 3]
    assert key_starts(np.array([0, 1, 0], np.int32), ones, 2) is None
