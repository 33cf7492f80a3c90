"""A report, read in one look at the database."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from api_gateway.reports import queries, summary
from api_gateway.reports.windows import Window, usual_window, window_before
from api_gateway.schema import AnyConnection
from tocsin_common.report import HoursOf, Report


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. Filters are for signals and outcomes; alerts and portfolios are always whole."""

    window: Window
    zone: ZoneInfo
    hours_of: HoursOf
    only: queries.Filter
    judgement: summary.Judgement


async def read(conn: AnyConnection, asked: Question, *, behind: int) -> Report:
    """Count everything as of one moment and put it together."""
    window, zone, only = asked.window, asked.zone, asked.only
    before_window, usual_time = window_before(window, zone), usual_window(window, zone)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        now = await queries.count(conn, window, only)
        before = await queries.count(conn, before_window, only)
        usual = await queries.count(conn, usual_time, only)
        steps = await queries.curve(conn, window, only)
        alerts, alerts_before = await queries.alerts(conn, window), await queries.alerts(conn, before_window)
        portfolios = await queries.portfolios(conn, window)
    hours, hours_before = (summary.by_hour(each.slices, zone, asked.hours_of) for each in (now, before))
    return Report(
        from_ms=window.from_ms,
        to_ms=window.to_ms,
        before_from_ms=before_window.from_ms,
        zone=zone.key,
        min_count=asked.judgement.min_count,
        behind=behind,
        now=summary.figures(now.total),
        before=summary.figures(before.total),
        active=now.total.active,
        results=dict(sorted(now.results.items())),
        curve=summary.points(steps, window),
        strategies=summary.ranking(now.strategies, before.strategies, asked.judgement),
        symbols=summary.ranking(now.symbols, before.symbols, asked.judgement),
        hours=summary.ranking(hours, hours_before, asked.judgement),
        changes=summary.changes(now, usual, asked.judgement, share=window.length_ms / usual_time.length_ms),
        alerts=alerts,
        alerts_before=alerts_before,
        portfolios=[summary.portfolio(each) for each in portfolios],
    )
