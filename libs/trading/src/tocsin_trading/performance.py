"""What a series of outcomes or an equity curve amounts to, and how sure one may be of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

Z_95 = 1.959964
"""Standard deviations of a normal distribution within which 95 % of it lie."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tally:
    """What has to be counted of R multiples; tallies of parts add up to that of the whole.

    A win is above 0 R, a loss below; what is exactly 0 is neither. `won_r` is the sum of the wins, `lost_r` (not above
    0) that of the losses.
    """

    count: int = 0
    wins: int = 0
    losses: int = 0
    won_r: float = 0.0
    lost_r: float = 0.0

    @classmethod
    def of(cls, r_multiples: Sequence[float]) -> Tally:
        wins = [r for r in r_multiples if r > 0]
        losses = [r for r in r_multiples if r < 0]
        return cls(len(r_multiples), len(wins), len(losses), sum(wins), sum(losses))

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.count + other.count,
            self.wins + other.wins,
            self.losses + other.losses,
            self.won_r + other.won_r,
            self.lost_r + other.lost_r,
        )


@dataclass(frozen=True, slots=True)
class Performance:
    """Statistics of R multiples.

    `win_rate` = wins / count, and in 95 of 100 such samples `win_rate_interval` holds the rate they were drawn from.
    `average_win_r` and `average_loss_r` (negative) are None without any. `expectancy_r` is the mean R multiple: what
    one signal gives on average for a risk of 1. `profit_factor` = sum of wins / sum of losses, None without a loss.
    All are None for no outcomes.
    """

    count: int
    wins: int
    losses: int
    win_rate: float | None
    win_rate_interval: Interval | None
    average_win_r: float | None
    average_loss_r: float | None
    expectancy_r: float | None
    profit_factor: float | None
    total_r: float


def performance(tally: Tally) -> Performance:
    """The statistics of finished signals."""
    count, wins, losses, total = tally.count, tally.wins, tally.losses, tally.won_r + tally.lost_r
    return Performance(
        count=count,
        wins=wins,
        losses=losses,
        win_rate=wins / count if count else None,
        win_rate_interval=wilson_interval(wins, count) if count else None,
        average_win_r=tally.won_r / wins if wins else None,
        average_loss_r=tally.lost_r / losses if losses else None,
        expectancy_r=total / count if count else None,
        profit_factor=tally.won_r / -tally.lost_r if losses else None,
        total_r=total,
    )


def wilson_interval(wins: int, count: int, z: float = Z_95) -> Interval:
    """The score interval of a rate seen as `wins` of `count` (above 0): sound for few and for extreme rates too.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
    Statistical Association 22 (1927), 209-212.
    """
    rate, weight = wins / count, z * z / count
    middle = (rate + weight / 2) / (1 + weight)
    reach = z * math.sqrt(rate * (1 - rate) / count + weight / (4 * count)) / (1 + weight)
    low = 0.0 if wins == 0 else max(0.0, middle - reach)
    high = 1.0 if wins == count else min(1.0, middle + reach)
    return low, high


def rate_change_interval(before: Tally, now: Tally) -> Interval:
    """By how much the win rate changed from one sample to another (both not empty), 95 %: if 0 is not between, it did.

    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17
    (1998), 873-890: method 10, made of both samples' Wilson intervals.
    """
    was, is_now = before.wins / before.count, now.wins / now.count
    was_low, was_high = wilson_interval(before.wins, before.count)
    now_low, now_high = wilson_interval(now.wins, now.count)
    change = is_now - was
    return change - math.hypot(is_now - now_low, was_high - was), change + math.hypot(now_high - is_now, was - was_low)


def max_drawdown(equity: Iterable[Decimal]) -> Decimal:
    """The largest fall from a high as a fraction of that high (0.25: a quarter was lost); 0 for a rising curve.

    The curve is in time order; highs at or below 0 do not count.
    """
    high = worst = Decimal(0)
    for value in equity:
        high = max(high, value)
        if high > 0:
            worst = max(worst, (high - value) / high)
    return worst
