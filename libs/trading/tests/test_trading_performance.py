"""Statistics of outcomes and of an equity curve."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tocsin_trading.performance import max_drawdown, performance


def test_counts_wins_losses_and_what_one_signal_gives_on_average() -> None:
    found = performance([2.0, -1.0, 3.0, 0.0])
    assert (found.count, found.wins, found.losses, found.win_rate) == (4, 2, 1, 0.5)
    assert (found.average_win_r, found.average_loss_r) == (2.5, -1.0)
    assert (found.expectancy_r, found.profit_factor, found.total_r) == (1.0, 5.0, 4.0)


def test_says_nothing_about_nothing() -> None:
    found = performance([])
    assert found.count == 0
    assert found.win_rate is found.expectancy_r is found.profit_factor is None


def test_the_drawdown_is_the_largest_fall_from_a_high() -> None:
    curve = [Decimal(value) for value in (100, 120, 90, 130, 117, 140)]
    assert max_drawdown(curve) == Decimal("0.25")
    assert max_drawdown([]) == 0


@given(st.lists(st.decimals(1, 10**6, places=2), max_size=20))
def test_the_drawdown_equals_the_worst_pair(curve: list[Decimal]) -> None:
    pairs = [(high - low) / high for i, high in enumerate(curve) for low in curve[i:] if low < high]
    assert max_drawdown(curve) == max(pairs, default=0)
