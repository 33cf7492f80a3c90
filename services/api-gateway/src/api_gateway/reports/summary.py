"""From counts to a report: rates, averages, rankings, and what is not as usual. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from zoneinfo import ZoneInfo

from api_gateway.reports.queries import Count, Counted, Counts, PortfolioCounted
from api_gateway.reports.windows import Window, hour_name
from tocsin_common.report import Change, Figures, Group, HoursOf, Point, PortfolioFigures, Ranking
from tocsin_trading.performance import max_drawdown, performance, rate_change_interval

MANY_TIMES = 2.0
"""Twice as many signals as usual are worth a word, and half as many."""

CHANGES_MAX = 20


@dataclass(frozen=True, slots=True)
class Judgement:
    """A group with fewer than `min_count` outcomes is not compared; rankings name at most `top` at either end."""

    min_count: int
    top: int


def figures(count: Count) -> Figures:
    measured = performance(count.outcomes)
    low, high = measured.win_rate_interval or (None, None)
    return Figures(
        signals=count.signals,
        outcomes=measured.count,
        wins=measured.wins,
        losses=measured.losses,
        win_rate=measured.win_rate,
        win_rate_low=low,
        win_rate_high=high,
        average_r=measured.expectancy_r,
        profit_factor=measured.profit_factor,
        total_r=measured.total_r,
    )


def by_hour(slices: Mapping[int, Count], zone: ZoneInfo, hours_of: HoursOf) -> Counts:
    """Slices of time put together to local hours."""
    found: Counts = defaultdict(Count)
    for number, count in slices.items():
        hour = found[hour_name(number, zone, hours_of)]
        hour.signals += count.signals
        hour.active += count.active
        hour.outcomes += count.outcomes
    return found


def ranking(now: Counts, before: Counts, judgement: Judgement) -> Ranking:
    """The groups of a period, each beside itself in the period before; equals stand by name."""
    groups = [_group(name, count, before.get(name) or Count(), judgement) for name, count in sorted(now.items())]
    compared = sorted((group for group in groups if group.enough), key=lambda group: -(group.now.average_r or 0.0))
    few = sorted((group for group in groups if not group.enough), key=lambda group: -group.now.outcomes)
    best = compared[: judgement.top]
    worst = compared[len(best) :][::-1][: judgement.top]
    return Ranking(groups=len(groups), best=best, worst=worst, few=few[: judgement.top])


def _group(name: str, now: Count, before: Count, judgement: Judgement) -> Group:
    return Group(name=name, enough=_enough(now, judgement), now=figures(now), before=figures(before))


def _enough(count: Count, judgement: Judgement) -> bool:
    return count.outcomes.count >= judgement.min_count


def points(steps: Iterable[tuple[int, float]], window: Window) -> list[Point]:
    """The sum of R from 0 at the beginning to the total at the end."""
    found = list(steps)
    sums = accumulate(r for _, r in found)
    middle = [Point(ts_ms=ts_ms, r=r) for (ts_ms, _), r in zip(found, sums, strict=True)]
    last = middle[-1].r if middle else 0.0
    return [Point(ts_ms=window.from_ms, r=0.0), *middle, Point(ts_ms=window.to_ms, r=last)]


def changes(now: Counted, usual: Counted, judgement: Judgement, *, share: float) -> list[Change]:
    """What is not as usual, the furthest from it first; `share` is the period's length in that of the usual one."""
    rates = [
        Change(kind="win_rate", name=name, before=was.wins / was.count, now=is_now.wins / is_now.count)
        for name, count in sorted(now.strategies.items())
        if _enough(count, judgement) and (before := usual.strategies.get(name)) and _enough(before, judgement)
        if not _holds_zero(rate_change_interval(was := before.outcomes, is_now := count.outcomes))
    ]
    many = [
        change
        for name in sorted({*now.symbols, *usual.symbols})
        if (change := _many(name, now.symbols.get(name), usual.symbols.get(name), judgement, share))
    ]
    rates.sort(key=lambda change: -abs(change.now - change.before))
    many.sort(key=lambda change: -abs(change.now - change.before))
    return [*rates, *many][:CHANGES_MAX]


def _many(name: str, now: Count | None, usual: Count | None, judgement: Judgement, share: float) -> Change | None:
    """Many more signals than usual, or many fewer, where either is `min_count` or more. What is new has no usual."""
    seen, expected = (now.signals if now else 0), (usual.signals if usual else 0) * share
    if not expected or max(seen, expected) < judgement.min_count:
        return None
    if seen < expected * MANY_TIMES and seen > expected / MANY_TIMES:
        return None
    return Change(kind="signals", name=name, before=expected, now=float(seen))


def _holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]


def portfolio(counted: PortfolioCounted) -> PortfolioFigures:
    first, last = counted.curve[0], counted.curve[-1]
    return PortfolioFigures(
        portfolio=counted.portfolio,
        currency=counted.currency,
        equity_before=f"{first:f}",
        equity=f"{last:f}",
        change=float(last / first - 1) if first > 0 else None,
        drawdown=float(max_drawdown(counted.curve)),
        fills=counted.fills,
        realised_pnl=f"{counted.realised_pnl:f}",
        fees=f"{counted.fees:f}",
    )
