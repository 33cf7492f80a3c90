"""A report in words: title, some sentences, and what a person looks for first as fields."""

from __future__ import annotations

from collections.abc import Iterator

from alerting.reports.phrases import average, days, money, multiple, percent, unusual
from alerting.words.voice import Voice
from alerting.words.wording import words
from tocsin_common.events import Named, Summary

DELAYED_S = 300
"""What is less late than that needs no word."""


def title(summary: Summary, voice: Voice) -> str:
    """For example: `Weekly report, 9 Nov to 15 Nov 2026: +12.4 R`."""
    name = voice.say(f"report.{summary.period}")
    return voice.say("report.title", name=name, days=days(summary, voice), total=multiple(summary.now.total_r))


def text(summary: Summary, voice: Voice) -> str:
    """How many won and how sure that is, what is unusual, and how late it comes."""
    return " ".join(_sentences(summary, voice))


def _sentences(summary: Summary, voice: Voice) -> Iterator[str]:
    now, say = summary.now, voice.say
    if not now.outcomes:
        yield say("report.nothing")
    else:
        rate, low, high = map(percent, (now.win_rate, now.win_rate_low, now.win_rate_high))
        yield say("report.won", wins=now.wins, outcomes=now.outcomes, rate=rate, low=low, high=high)
    for found in summary.unusual:
        yield unusual(found, voice)
    if summary.delayed_s >= DELAYED_S:
        yield say("report.delayed", duration=voice.duration(summary.delayed_s))


def fields(summary: Summary, voice: Voice) -> dict[str, str]:
    """What there is nothing to say of is left out."""
    say, now, before = voice.say, summary.now, summary.before
    found = {
        say("report.result"): say(
            "report.against", now=f"{multiple(now.total_r)} R", before=f"{multiple(before.total_r)} R"
        ),
        say("report.signals"): say("report.new_and_ended", signals=now.signals, outcomes=now.outcomes),
    }
    if now.outcomes:
        rates = {"now": percent(now.win_rate), "before": percent(before.win_rate)}
        found[say("report.win_rate")] = say("report.against", **rates)
        factor = "" if now.profit_factor is None else f"{now.profit_factor:.2f}"
        value = say("report.average_and_factor", average=average(now), factor=factor)
        found[say("report.average")] = value if factor else f"{average(now)} R"
    return found | _ends(summary, voice) | _outside(summary, voice)


def _ends(summary: Summary, voice: Voice) -> dict[str, str]:
    """The best and the worst of each kind, where there are two to compare."""
    compared = [named for named in summary.strategies if named.enough]
    kinds = {
        "strategy": (compared[:1], compared[1:][-1:]),
        "symbol": (summary.best_symbols, summary.worst_symbols or summary.best_symbols[1:][::-1]),
        "hour": (summary.best_hours, summary.worst_hours or summary.best_hours[1:][::-1]),
    }
    return {
        voice.say(f"report.{end}_{kind}"): _each(named[0], kind, voice)
        for kind, both in kinds.items()
        for end, named in zip(("best", "worst"), both, strict=True)
        if named
    }


def _each(named: Named, kind: str, voice: Voice) -> str:
    name = words(named.name) if kind == "strategy" else named.name
    return voice.say("report.each", name=name, average=average(named.score), outcomes=named.score.outcomes)


def _outside(summary: Summary, voice: Voice) -> dict[str, str]:
    """What became of the alerts, and of the money in paper portfolios."""
    found = {
        voice.say("report.alerts"): voice.say(
            "report.delivered",
            raised=summary.raised,
            sent=summary.sent,
            undelivered=summary.undelivered,
            suppressed=summary.suppressed,
        )
    }
    for one in summary.accounts:
        change = percent(one.change, signed=True, digits=2)
        grown = voice.say("report.grown", change=change, equity=money(one.equity), currency=one.currency)
        found[voice.say("report.account", name=one.portfolio)] = grown
    return found
