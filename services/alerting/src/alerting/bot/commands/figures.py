"""How well signals did, and what the paper portfolios are worth. The figures are the gateway's."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from alerting.bot import arguments
from alerting.bot.answers import Answer, fit
from alerting.bot.desk import Desk
from alerting.bot.question import Command, Question
from alerting.gateway import Page, Portfolio
from alerting.words.wording import words
from tocsin_common.report import Group, Report

DAY_MS = 86_400_000
NONE = "\N{EN DASH}"


class Stats(msgspec.Struct, frozen=True):
    """Of one strategy and timeframe; a win is an outcome above 0 R, rates and averages are None without outcomes."""

    strategy: str
    timeframe: str
    signals: int
    outcomes: int
    win_rate: float | None
    average_r: float | None


async def winrate(question: Question, desk: Desk) -> Answer:
    """How many of the signals that ended won, and how sure that is."""
    days, report = await ended_lately(question, desk)
    now, say = report.now, question.say
    lines = [say("figures.winrate", rate=rate(now.win_rate), days=days, wins=now.wins, count=now.outcomes)]
    if now.win_rate_low is not None:
        lines.append(say("figures.interval", low=rate(now.win_rate_low), high=rate(now.win_rate_high)))
    return Answer("\n".join(lines))


async def performance(question: Question, desk: Desk) -> Answer:
    """What all signals that ended made, and which strategies made most and least."""
    days, report = await ended_lately(question, desk)
    now, say = report.now, question.say
    factor = NONE if now.profit_factor is None else f"{now.profit_factor:.2f}"
    lines = [
        say("figures.performance", days=days, total=multiple(now.total_r), count=now.outcomes),
        say("figures.average", average=multiple(now.average_r), factor=factor),
        *(ranked(question, "figures.best", one) for one in report.strategies.best[:1]),
        *(ranked(question, "figures.worst", one) for one in report.strategies.worst[:1]),
    ]
    return Answer("\n".join([*lines, "", say("figures.note")]))


async def signal_stats(question: Question, desk: Desk) -> Answer:
    """Signals by strategy and timeframe, the busiest first."""
    days, from_ms = wanted_days(question, desk)
    found = (await desk.gateway.get("/stats", Page[Stats], {"from_ms": from_ms})).items
    if not found:
        raise question.refuse("nothing", "figures.nothing", days=days)
    found.sort(key=lambda one: (-one.signals, one.strategy, one.timeframe))
    rows = (
        question.say(
            "figures.stats_row",
            strategy=words(one.strategy),
            timeframe=one.timeframe,
            signals=one.signals,
            outcomes=one.outcomes,
            rate=rate(one.win_rate),
            average=multiple(one.average_r),
        )
        for one in found
    )
    return Answer(fit([question.say("figures.stats", days=days), *rows]))


async def portfolio(question: Question, desk: Desk) -> Answer:
    """Equity and cash of every paper portfolio."""
    found = await desk.gateway.get("/portfolios", Page[Portfolio], {"limit": 50})
    if not found.items:
        raise question.refuse("nothing", "figures.no_portfolios")
    rows = (
        question.say(
            "figures.portfolio_row",
            portfolio=one.portfolio,
            equity=money(one.equity or one.initial_cash),
            currency=one.currency,
            change=gain(one),
            cash=money(one.cash or one.initial_cash),
        )
        for one in found.items
    )
    return Answer(fit([question.say("figures.portfolios"), *rows]))


def wanted_days(question: Question, desk: Desk) -> tuple[int, int]:
    """The days asked for, and the moment they begin. Raises Refusal."""
    days = arguments.days(question.rest)
    if days is None:
        raise question.refuse("usage", "figures.bad_days", command=question.name)
    return days, desk.clock_ms() - days * DAY_MS


async def ended_lately(question: Question, desk: Desk) -> tuple[int, Report]:
    """The days asked for, and the report of them. Raises Refusal: no signal ended in them."""
    days, from_ms = wanted_days(question, desk)
    report = await desk.report(from_ms=from_ms, to_ms=from_ms + days * DAY_MS, zone=question.voice.zone)
    if not report.now.outcomes:
        raise question.refuse("nothing", "figures.nothing", days=days)
    return days, report


def ranked(question: Question, key: str, one: Group) -> str:
    return question.say(key, strategy=words(one.name), average=multiple(one.now.average_r), count=one.now.outcomes)


def rate(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.0f} %"


def multiple(value: float | None) -> str:
    return NONE if value is None else f"{value:+.2f} R"


def money(text: str) -> str:
    return f"{Decimal(text):,.2f}"


def gain(one: Portfolio) -> str:
    initial = Decimal(one.initial_cash)
    share = (Decimal(one.equity or one.initial_cash) / initial - 1) * 100 if initial else Decimal(0)
    return f"{share:+.2f} %"


COMMANDS = {
    "winrate": Command(winrate, anywhere=True),
    "signal_stats": Command(signal_stats, anywhere=True),
    "performance": Command(performance, anywhere=True),
    "portfolio": Command(portfolio, anywhere=True),
}
