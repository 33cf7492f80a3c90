"""What one sends first, and when at a loss."""

from __future__ import annotations

from alerting.bot.answers import Answer, fit
from alerting.bot.desk import Desk
from alerting.bot.phrases import Phrases
from alerting.bot.question import Command, Question

OPERATORS = ("weekly_report", "health", "silence", "broadcast")


async def help_me(question: Question, _desk: Desk) -> Answer:
    """Every command with what it does; those of operators to operators."""
    say = question.say
    everybody = [line for line in listed(say, operators=False) if not line.startswith("/start ")]
    lines = [say("help.title"), "", *everybody]
    if question.operator:
        lines += ["", say("help.operators"), *listed(say, operators=True)]
    return Answer(fit(lines))


def listed(say: Phrases, *, operators: bool) -> list[str]:
    return [f"/{name} \N{EN DASH} {text}" for name, text in say.commands().items() if (name in OPERATORS) == operators]


def offered(say: Phrases) -> dict[str, str]:
    """What Telegram offers beside the field: everybody's commands."""
    return {name: text for name, text in say.commands().items() if name not in OPERATORS}


COMMANDS = {"help": Command(help_me, who="anyone", anywhere=True)}
