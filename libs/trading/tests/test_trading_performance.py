"""Statistics of outcomes and of an equity curve."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tocsin_trading.performance import Tally, max_drawdown, performance, rate_change_interval, wilson_interval

R_MULTIPLES = st.lists(st.integers(-40, 80).map(lambda n: n / 8), max_size=30)


def test_counts_wins_losses_and_what_one_signal_gives_on_average() -> None:
    found = performance(Tally.of([2.0, -1.0, 3.0, 0.0]))
    assert (found.count, found.wins, found.losses, found.win_rate) == (4, 2, 1, 0.5)
    assert (found.average_win_r, found.average_loss_r) == (2.5, -1.0)
    assert (found.expectancy_r, found.profit_factor, found.total_r) == (1.0, 5.0, 4.0)


def test_says_nothing_about_nothing() -> None:
    found = performance(Tally.of([]))
    assert found.count == 0
    assert found.win_rate is found.win_rate_interval is found.expectancy_r is found.profit_factor is None


def test_the_drawdown_is_the_largest_fall_from_a_high() -> None:
    curve = [Decimal(value) for value in (100, 120, 90, 130, 117, 140)]
    assert max_drawdown(curve) == Decimal("0.25")
    assert max_drawdown([]) == 0


@given(st.lists(st.decimals(1, 10**6, places=2), max_size=20))
def test_the_drawdown_equals_the_worst_pair(curve: list[Decimal]) -> None:
    pairs = [(high - low) / high for i, high in enumerate(curve) for low in curve[i:] if low < high]
    assert max_drawdown(curve) == max(pairs, default=0)


@given(R_MULTIPLES, R_MULTIPLES)
def test_tallies_of_parts_add_up_to_that_of_the_whole(first: list[float], second: list[float]) -> None:
    assert Tally.of(first) + Tally.of(second) == Tally.of(first + second)


def test_the_wilson_interval_is_the_published_one() -> None:
    """The examples of R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (wins, count), interval in published.items():
        assert tuple(round(end, 4) for end in wilson_interval(wins, count)) == interval


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_rate_lies_in_its_interval_and_more_outcomes_narrow_it(seen: tuple[int, int]) -> None:
    wins, count = seen
    low, high = wilson_interval(wins, count)
    assert 0 <= low <= wins / count <= high <= 1
    narrower = wilson_interval(wins * 10, count * 10)
    assert narrower[1] - narrower[0] < high - low


def test_a_change_of_the_win_rate_is_the_published_one() -> None:
    """The examples (a), (d) and (h) of R. G. Newcombe (1998), table II, method 10."""
    published = {(48, 80, 56, 70): (0.0524, 0.3339), (3, 10, 9, 10): (0.1705, 0.8090), (0, 10, 10, 10): (0.6075, 1.0)}
    for (was, many, now, count), interval in published.items():
        found = rate_change_interval(Tally(count=many, wins=was), Tally(count=count, wins=now))
        assert tuple(round(end, 4) for end in found) == interval
