"""What a series of outcomes or an equity curve amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Performance:
    """Statistics of R multiples. A win is above 0 R, a loss below; what is exactly 0 is neither.

    `win_rate` = wins / count. `average_win_r` and `average_loss_r` (negative) are None without any.
    `expectancy_r` is the mean R multiple: what one signal gives on average for a risk of 1. `profit_factor` = sum of
    wins / sum of losses, None without a loss. All are None for no outcomes.
    """

    count: int
    wins: int
    losses: int
    win_rate: float | None
    average_win_r: float | None
    average_loss_r: float | None
    expectancy_r: float | None
    profit_factor: float | None
    total_r: float


def performance(r_multiples: Sequence[float]) -> Performance:
    """The statistics of finished signals, each given by its R multiple."""
    wins = [r for r in r_multiples if r > 0]
    losses = [r for r in r_multiples if r < 0]
    count, total = len(r_multiples), sum(r_multiples)
    return Performance(
        count=count,
        wins=len(wins),
        losses=len(losses),
        win_rate=len(wins) / count if count else None,
        average_win_r=sum(wins) / len(wins) if wins else None,
        average_loss_r=sum(losses) / len(losses) if losses else None,
        expectancy_r=total / count if count else None,
        profit_factor=sum(wins) / -sum(losses) if losses else None,
        total_r=total,
    )


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
