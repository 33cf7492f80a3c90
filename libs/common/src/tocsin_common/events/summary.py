"""What a scheduled report tells, small enough to travel with every alert and delivery of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Period = Literal["daily", "weekly"]
PERIODS: tuple[Period, ...] = ("daily", "weekly")


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Signals and what came of them: `outcomes` ended, `wins` of them above 0 R; rates are None without outcomes.

    The win rate lies between `win_rate_low` and `win_rate_high` with 95 % confidence.
    """

    signals: int
    outcomes: int
    wins: int
    total_r: float
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    average_r: float | None = None
    profit_factor: float | None = None


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The score of one strategy, symbol or local hour. Without `enough` outcomes it says little."""

    name: str
    score: Score
    enough: bool = True


class Unusual(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's win rate, or a symbol's number of signals, that is not what it was in the four weeks before."""

    kind: Literal["win_rate", "signals"]
    name: str
    before: float
    now: float


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A paper portfolio over the period; `change` (None: it began with nothing) and `drawdown` are fractions."""

    portfolio: str
    currency: str
    equity: str
    change: float | None
    drawdown: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A day or a week (`from_ms <= t < to_ms`) beside the one before, as long on the clock of `zone`.

    `curve` holds (ms, sum of R so far). `strategies` stand from the best to the worst, then those with few outcomes;
    of symbols and hours there are only the ends. `delayed_s` is how much later than planned it was made.
    """

    period: Period
    from_ms: int
    to_ms: int
    zone: str
    now: Score
    before: Score
    active: int
    curve: list[tuple[int, float]]
    strategies: list[Named]
    best_symbols: list[Named]
    worst_symbols: list[Named]
    best_hours: list[Named]
    worst_hours: list[Named]
    unusual: list[Unusual]
    accounts: list[Account]
    raised: int
    suppressed: int
    sent: int
    undelivered: int
    delayed_s: int = 0
