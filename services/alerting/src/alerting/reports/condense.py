"""From the gateway's answer to what is told of it: short lists, short names. Pure."""

from __future__ import annotations

from typing import TypeVar

from alerting.reports.schedule import Due
from tocsin_common.events import Account, DeliveryState, Named, Score, Summary, Unusual
from tocsin_common.report import Figures, Group, Ranking, Report

STRATEGIES_MAX, SYMBOLS_MAX, HOURS_MAX, UNUSUAL_MAX, ACCOUNTS_MAX, CURVE_MAX = 8, 3, 2, 4, 3, 96
TOP = STRATEGIES_MAX // 2
"""What the gateway is asked for at either end."""

NAME_MAX = 64

SENT: tuple[DeliveryState, ...] = ("sent", "digested")
UNDELIVERED: tuple[DeliveryState, ...] = ("failed", "unknown", "expired")

T = TypeVar("T")


def condensed(report: Report, due: Due, *, delayed_s: int = 0) -> Summary:
    """What is told of a report; it is about 4 KiB."""
    alerts = report.alerts
    few = [group for group in report.strategies.few if group.now.outcomes]
    best_symbols, worst_symbols = _ends(report.symbols, SYMBOLS_MAX)
    best_hours, worst_hours = _ends(report.hours, HOURS_MAX)
    return Summary(
        period=due.period,
        from_ms=due.from_ms,
        to_ms=due.to_ms,
        zone=due.zone,
        now=_score(report.now),
        before=_score(report.before),
        active=report.active,
        curve=[(point.ts_ms, round(point.r, 4)) for point in thinned(report.curve, CURVE_MAX)],
        strategies=_named([*_compared(report.strategies), *few], STRATEGIES_MAX),
        best_symbols=best_symbols,
        worst_symbols=worst_symbols,
        best_hours=best_hours,
        worst_hours=worst_hours,
        unusual=[
            Unusual(kind=change.kind, name=change.name[:NAME_MAX], before=change.before, now=change.now)
            for change in report.changes[:UNUSUAL_MAX]
        ],
        accounts=[
            Account(
                portfolio=one.portfolio[:NAME_MAX],
                currency=one.currency[:NAME_MAX],
                equity=one.equity[:NAME_MAX],
                change=one.change,
                drawdown=one.drawdown,
            )
            for one in report.portfolios[:ACCOUNTS_MAX]
        ],
        raised=alerts.raised,
        suppressed=sum(alerts.suppressed.values()),
        sent=sum(alerts.deliveries.get(state, 0) for state in SENT),
        undelivered=sum(alerts.deliveries.get(state, 0) for state in UNDELIVERED),
        delayed_s=delayed_s,
    )


def thinned(points: list[T], most: int) -> list[T]:
    """No more than so many, evenly chosen, the first and the last among them."""
    last = len(points) - 1
    return points if last < most else [points[place * last // (most - 1)] for place in range(most)]


def _compared(ranking: Ranking) -> list[Group]:
    """From the best to the worst."""
    return [*ranking.best, *ranking.worst[::-1]]


def _ends(ranking: Ranking, most: int) -> tuple[list[Named], list[Named]]:
    """The best, and the worst of the others, worst first."""
    groups = _compared(ranking)
    return _named(groups, most), _named(groups[most:][::-1], most)


def _named(groups: list[Group], most: int) -> list[Named]:
    return [Named(name=one.name[:NAME_MAX], score=_score(one.now), enough=one.enough) for one in groups[:most]]


def _score(figures: Figures) -> Score:
    return Score(
        signals=figures.signals,
        outcomes=figures.outcomes,
        wins=figures.wins,
        total_r=figures.total_r,
        win_rate=figures.win_rate,
        win_rate_low=figures.win_rate_low,
        win_rate_high=figures.win_rate_high,
        average_r=figures.average_r,
        profit_factor=figures.profit_factor,
    )
