"""What one sends first, and when at a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from alerting.bot.answers import Answer, fit
from alerting.bot.commands.own import want_signals
from alerting.bot.desk import Desk
from alerting.bot.question import OPERATOR, Command, Question
from alerting.channels.text import one_line
from alerting.kinds import SUBSCRIBER
from tocsin_common.documents import Destination, Subscriber


async def help_me(question: Question, _desk: Desk) -> Answer:
    """Every command with what it does; those of operators to operators."""
    say = question.say
    lines = [say("help.title"), "", *listed(say.section("command"))]
    if question.operator:
        lines += ["", say("help.operators"), *listed(say.section("operator"))]
    return Answer(fit(lines))


def listed(commands: Mapping[str, str]) -> list[str]:
    return [f"/{name} \N{EN DASH} {text}" for name, text in commands.items()]


async def start(question: Question, desk: Desk) -> Answer:
    """Say hello; where it is allowed, a stranger becomes a subscriber who is told of every signal."""
    say, person = question.say, question.asked.person
    if question.subscriber is not None:
        return Answer(say("start.again", name=question.subscriber.name))
    if not desk.settings.self_service:
        raise question.refuse("stranger", "start.closed", how=desk.how_to_begin(say))
    chat = Destination(channel="telegram", address=str(person.user_id))
    subscriber = Subscriber(
        subscriber_id=desk.identity.own_id(person),
        name=one_line(person.name) or say.plain("start.nameless"),
        destinations=[chat],
        language=say.language,
    )
    await desk.management.put(OPERATOR, SUBSCRIBER, subscriber, 0)
    await want_signals(replace(question, subscriber=subscriber), desk, None)
    return Answer(say("start.welcome", name=subscriber.name))


COMMANDS = {"start": Command(start, who="anyone"), "help": Command(help_me, who="anyone", anywhere=True)}
