"""A level gives the same candles for rows that come together as for the same rows one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market_ingest.columns import Candles
from market_ingest.levels import FEW_ROWS, Level

START_MS = 1_700_006_400_000
MINUTE_MS = 60_000

Row = tuple[int, float, float]
"""Milliseconds since START_MS, price, volume; a volume of zero is silence."""

TIMES = [0, 1, 30_000, 59_999, 60_000, 60_001, 119_999, 120_000]
ROWS = st.tuples(st.sampled_from(TIMES), st.sampled_from([9.0, 10.0, 11.0]), st.sampled_from([0.0, 0.1, 0.2, 7.0]))
MANY = st.lists(ROWS, min_size=FEW_ROWS + 1, max_size=3 * FEW_ROWS)


def columns(rows: list[Row]) -> Candles:
    ts_ms, price, volume = (np.array(column) for column in zip(*rows, strict=True))
    return Candles(START_MS + ts_ms, price, price, price, price, volume, np.ones(len(rows), np.int64))


def of_each(level: Level, batches: list[list[Row]]) -> tuple[list[tuple[float, ...]], int]:
    """The candles that come of these, the open one last, and how many rows were late."""
    found: list[tuple[float, ...]] = []
    late = 0
    for batch in batches:
        closed, late_rows = level.add(columns(batch))
        found += [closed.row(at) for at in range(len(closed))]
        late += late_rows
    ended = level.close_through(START_MS + 10 * MINUTE_MS)
    return [*found, *(ended.row(at) for at in range(len(ended)))], late


@settings(max_examples=300, deadline=None)
@given(MANY, MANY)
@example([(30_000, 10.0, 1.0)] * 9, [(1, 11.0, 1.0)] * 9)  # out of order in one interval
@example([(60_000, 10.0, 1.0)] * 9, [(59_999, 11.0, 1.0)] * 9)  # late, all of them of one interval
@example([(1, 9.0, 1.0)] * 9, [(30_000, 10.0, 1.0)] * 8 + [(60_000, 11.0, 1.0)])  # up to the boundary
@example([(1, 9.0, 1.0)] * 9, [(30_000, 11.0, 0.0)] + [(30_000, 10.0, 1.0)] * 8)  # silence among trades
@example([(1, 10.0, 1.0)] * 9, [(30_000, 10.0, 1.0), (30_000, 9.0, 1.0), (30_000, 11.0, 1.0)] * 3)  # extremes
@example([(60_000, 10.0, 1.0)] * 9, [(60_001, 10.0, 1.0)] * 8 + [(59_999, 11.0, 1.0)])  # late among others
def test_rows_together_are_the_same_rows_one_by_one(first: list[Row], then: list[Row]) -> None:
    together = of_each(Level("1m"), [first, then])
    assert together == of_each(Level("1m"), [[row] for row in [*first, *then]])
