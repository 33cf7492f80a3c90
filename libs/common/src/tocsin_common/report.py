"""What a report says of a period: the answer of `GET /api/v1/report`, for who gives it and who asks for it.

Times are milliseconds UTC, ranges are `from_ms <= t < to_ms`, money is an exact decimal as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChangeKind = Literal["win_rate", "signals"]
HoursOf = Literal["day", "week"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`signals` were confirmed in the period, `outcomes` ended in it, whenever they began.

    A win is an outcome above 0 R. The win rate lies between `win_rate_low` and `win_rate_high` with 95 % confidence
    (Wilson's interval). Rates and averages are null without outcomes, `profit_factor` without losses.
    """

    signals: int
    outcomes: int
    wins: int
    losses: int
    win_rate: float | None
    win_rate_low: float | None
    win_rate_high: float | None
    average_r: float | None
    profit_factor: float | None
    total_r: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One strategy, symbol or hour, and the same in the period before. `enough`: `min_count` outcomes or more."""

    name: str
    enough: bool
    now: Figures
    before: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Groups by average R: the best and the worst of those with outcomes enough (none is in both lists).

    `few` are those with fewer, the most first: too few to be compared. `groups` counts all of them.
    """

    groups: int
    best: list[Group]
    worst: list[Group]
    few: list[Group]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The sum of all R multiples from the beginning of the period up to `ts_ms`."""

    ts_ms: int
    r: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFigures:
    """Alerts of the period, by market time: raised; spared somebody, by reason; and their deliveries by state."""

    raised: int
    suppressed: dict[str, int]
    deliveries: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioFigures:
    """A paper portfolio in the period. `change` and `drawdown` are fractions: 0.02 is two in a hundred.

    `equity_before` is that of the last mark before the period, or the cash it opened with; `drawdown` the largest fall
    from a high within the period. `change` is null where there was nothing to begin with.
    """

    portfolio: str
    currency: str
    equity_before: str
    equity: str
    change: float | None
    drawdown: float
    fills: int
    realised_pnl: str
    fees: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something is not as usual, which is what the 28 days before the period were.

    `win_rate` of the strategy `name`: it was `before` and is `now`, and the difference is more than chance explains in
    19 of 20 cases. `signals` of the symbol `name`: twice as many, or half as many, as usual in so long a period.
    """

    kind: ChangeKind
    name: str
    before: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One period compared to the one before, which is as long on the clock of `zone`.

    `active`: signals of the period that had not ended at its end; `results`: outcomes by result. `curve` is the sum of
    R multiples over time. An hour is the local one in which a signal was confirmed. `behind`: messages that are not
    projected yet, so not counted yet.
    """

    from_ms: int
    to_ms: int
    before_from_ms: int
    zone: str
    min_count: int
    behind: int
    now: Figures
    before: Figures
    active: int
    results: dict[str, int]
    curve: list[Point]
    strategies: Ranking
    symbols: Ranking
    hours: Ranking
    changes: list[Change]
    alerts: AlertFigures
    alerts_before: AlertFigures
    portfolios: list[PortfolioFigures]
