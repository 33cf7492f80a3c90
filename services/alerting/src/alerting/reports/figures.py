"""What a report is made of, asked of the gateway and held against what was asked."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from alerting.gateway import Away, Gateway
from alerting.reports.condense import TOP
from alerting.reports.schedule import Due
from tocsin_common.report import Report

BEHIND_MAX = 1_000
"""With more messages not projected yet the figures are not those of the whole period."""

TIMEOUT_S = 15.0
"""Longer than the gateway gives a query."""


async def figures(gateway: Gateway, due: Due, *, min_count: int) -> Report:
    """The gateway's answer for a period. Raises Away, also while it has not seen everything."""
    asked: dict[str, str | int] = {"from_ms": due.from_ms, "to_ms": due.to_ms, "zone": due.zone}
    report = await gateway.get("/report", Report, asked | {"min_count": min_count, "top": TOP})
    if (report.from_ms, report.to_ms) != (due.from_ms, due.to_ms):
        raise Away("senseless")
    if not all(_is_money(one.equity) for one in report.portfolios):
        raise Away("senseless")
    if report.behind > BEHIND_MAX:
        raise Away("behind")
    return report


def _is_money(text: str) -> bool:
    try:
        return abs(Decimal(text)) < Decimal("1e30")
    except InvalidOperation:
        return False
