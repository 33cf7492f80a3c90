"""How well signals did, and what the paper portfolios are worth. The figures are the gateway's."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from alerting.bot import arguments
from alerting.bot.answers import Answer, fit
from alerting.bot.desk import Desk
from alerting.bot.question import Command, Question
from alerting.gateway import Page, Portfolio
from alerting.wording import words

DAY_MS = 86_400_000
NONE = "\N{EN DASH}"


class Stats(msgspec.Struct, frozen=True):
    """Of one strategy and timeframe; a win is an outcome above 0 R, rates and averages are None without outcomes."""

    strategy: str
    timeframe: str
    signals: int
    outcomes: int
    wins: int
    losses: int
    win_rate: float | None
    average_r: float | None
    average_win_r: float | None
    average_loss_r: float | None
    total_r: float


async def winrate(question: Question, desk: Desk) -> Answer:
    """How many of the signals that ended won."""
    days, ended = await ended_lately(question, desk)
    count, wins = sum(one.outcomes for one in ended), sum(one.wins for one in ended)
    return Answer(question.say("figures.winrate", rate=rate(wins / count), days=days, wins=wins, count=count))


async def signal_stats(question: Question, desk: Desk) -> Answer:
    """Signals by strategy and timeframe, the busiest first."""
    days, found = await lately(question, desk)
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


async def performance(question: Question, desk: Desk) -> Answer:
    """What all signals that ended made, and which strategies made most and least."""
    days, ended = await ended_lately(question, desk)
    say, count = question.say, sum(one.outcomes for one in ended)
    total = sum(one.total_r for one in ended)
    wins, losses = sum(one.wins for one in ended), sum(one.losses for one in ended)
    won = sum((one.average_win_r or 0.0) * one.wins for one in ended)
    lost = sum((one.average_loss_r or 0.0) * one.losses for one in ended)
    best, worst = max(ended, key=lambda one: one.total_r), min(ended, key=lambda one: one.total_r)
    lines = [
        say("figures.performance", days=days, total=multiple(total), count=count),
        say(
            "figures.average",
            average=multiple(total / count),
            win=multiple(won / wins if wins else None),
            loss=multiple(lost / losses if losses else None),
        ),
        say("figures.factor", factor=f"{won / -lost:.2f}" if lost else NONE),
    ]
    for key, one in (("figures.best", best), ("figures.worst", worst)):
        lines.append(say(key, strategy=words(one.strategy), timeframe=one.timeframe, total=multiple(one.total_r)))
    return Answer("\n".join([*lines, "", say("figures.note")]))


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


async def lately(question: Question, desk: Desk) -> tuple[int, list[Stats]]:
    """The days asked for, and the statistics of them. Raises Refusal, Away."""
    days = arguments.days(question.rest)
    if days is None:
        raise question.refuse("usage", "figures.bad_days", command=question.name)
    from_ms = desk.clock_ms() - days * DAY_MS
    return days, (await desk.gateway.get("/stats", Page[Stats], {"from_ms": from_ms})).items


async def ended_lately(question: Question, desk: Desk) -> tuple[int, list[Stats]]:
    """Those with outcomes. Raises Refusal: there are none."""
    days, found = await lately(question, desk)
    ended = [one for one in found if one.outcomes]
    if not ended:
        raise question.refuse("nothing", "figures.nothing", days=days)
    return days, ended


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
