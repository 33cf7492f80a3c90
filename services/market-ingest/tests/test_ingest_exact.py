"""The law of volume: equal to the decimal sum, whatever the numbers, the order and the batching."""

from __future__ import annotations

import math
from decimal import Context, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_ingest.exact import MAX_ROWS, segment_sums

UNLIMITED = Context(prec=2000)

as_sent = st.builds(
    lambda digits, decimals: float(Decimal(digits).scaleb(-decimals)), st.integers(1, 10**15 - 1), st.integers(0, 12)
)
"""What exchanges send: decimals of at most 15 digits."""

noisy = st.floats(min_value=0, allow_nan=False, allow_infinity=False, exclude_min=True)
"""What other programs made of it."""

amounts = st.lists(st.one_of(as_sent, noisy, st.just(0.1), st.just(0.0)), min_size=1, max_size=40)


def decimal_sum(values: list[float]) -> float:
    total = Decimal()
    for value in values:
        total = UNLIMITED.add(total, Decimal(repr(value)))
    return float(total)


@given(amounts, st.data())
def test_every_segment_is_the_correctly_rounded_decimal_sum(values: list[float], data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, max(1, len(values) - 1)))) if len(values) > 1 else set()
    starts = [0, *sorted(cuts)]
    sums = segment_sums(np.array(values), np.array(starts))
    expected = [decimal_sum(values[a:b]) for a, b in zip(starts, [*starts[1:], len(values)], strict=True)]
    assert sums.rounded().tolist() == expected
    assert [float(sums.exact(segment)) for segment in range(len(starts))] == expected


def test_three_times_a_tenth_is_three_tenths() -> None:
    sums = segment_sums(np.array([0.1, 0.1, 0.1]), np.array([0]))
    assert sums.rounded().tolist() == [0.3]
    assert math.fsum([0.1, 0.1, 0.1]) != 0.3


def test_a_full_call_of_the_largest_fast_amounts_does_not_overflow() -> None:
    largest = (2**49 - 1) / 10**8
    values = [largest] * MAX_ROWS
    assert segment_sums(np.array(values), np.array([0])).rounded().tolist() == [decimal_sum(values)]


def test_small_amounts_are_summed_at_once_however_many_they_are() -> None:
    sums = segment_sums(np.full(3 * MAX_ROWS, 0.1), np.array([0]))
    assert sums.rounded().tolist() == [float(3 * MAX_ROWS * Decimal("0.1"))]


def test_more_than_can_be_summed_safely_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be summed at once"):
        segment_sums(np.full(MAX_ROWS + 1, (2**49 - 1) / 10**8), np.array([0]))
