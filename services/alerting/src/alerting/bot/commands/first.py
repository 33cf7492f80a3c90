"""What one sends first, and when at a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from alerting.bot.answers import Answer, fit
from alerting.bot.commands.own import want_signals
from alerting.bot.desk import Desk
from alerting.bot.phrases import phrases
from alerting.bot.question import OPERATOR, Command, Question
from alerting.channels.text import one_line
from alerting.kinds import SUBSCRIBER
from alerting.reasons import Unconfirmed
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.errors import Rejected


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
    """Take a code that confirms this chat; or say hello. Where it is allowed, a stranger becomes a subscriber."""
    say, person = question.say, question.asked.person
    if question.rest:
        return await confirm(question, desk)
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


async def confirm(question: Question, desk: Desk) -> Answer:
    """The destination that the code was made for is this chat from now on. A code is good once, so a second try by the
    one whose chat it is says the same."""
    try:
        subscriber = await desk.verification.confirm(question.rest, chat=str(question.asked.person.user_id))
    except Rejected as error:
        if error.reason == Unconfirmed.UNKNOWN_CODE and question.subscriber is not None:
            return Answer(question.say("start.again", name=question.subscriber.name))
        raise question.refuse("bad_code", "start.bad_code") from None
    return Answer(phrases(subscriber.language)("start.confirmed"))


COMMANDS = {"start": Command(start, who="anyone"), "help": Command(help_me, who="anyone", anywhere=True)}
