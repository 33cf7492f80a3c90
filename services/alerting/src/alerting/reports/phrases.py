"""The figures of a report as a person reads them, in text and picture alike."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from alerting.words.voice import Voice
from alerting.words.wording import words
from tocsin_common.events import Score, Summary, Unusual

NONE = "-"
"""In place of a figure that there is not."""


def multiple(r: float | None, digits: int = 1) -> str:
    """`+12.4`; what rounds to nothing has no sign."""
    if r is None:
        return NONE
    text = f"{r:+,.{digits}f}"
    return text.lstrip("+-") if not float(text.replace(",", "")) else text


def percent(fraction: float | None, *, signed: bool = False, digits: int = 0) -> str:
    """`58 %`, or `+2.31 %`."""
    if fraction is None:
        return NONE
    return f"{fraction * 100:{'+' if signed else ''},.{digits}f} %"


def money(exact: str) -> str:
    """`10,230.12`."""
    return f"{Decimal(exact):,.2f}"


def average(score: Score) -> str:
    return multiple(score.average_r, 2)


def days(summary: Summary, voice: Voice) -> str:
    """`9 Nov to 15 Nov 2026`, or the one day."""
    zone = ZoneInfo(summary.zone)
    first, last = (datetime.fromtimestamp(ms / 1000, zone) for ms in (summary.from_ms, summary.to_ms - 1))
    end = f"{day(last, voice)} {last.year}"
    if first.date() == last.date():
        return end
    begin = day(first, voice) if first.year == last.year else f"{day(first, voice)} {first.year}"
    return voice.say("report.span", first=begin, last=end)


def day(when: datetime, voice: Voice) -> str:
    """`9 Nov`."""
    return f"{when.day} {voice.say(f'month.m{when.month}')}"


def unusual(found: Unusual, voice: Voice) -> str:
    """One sentence of what is not as it was."""
    if found.kind == "win_rate":
        name, before, now = words(found.name), percent(found.before), percent(found.now)
    else:
        name, before, now = found.name, f"{found.before:.0f}", f"{found.now:.0f}"
    return voice.say(f"report.unusual_{found.kind}", name=name, before=before, now=now)
