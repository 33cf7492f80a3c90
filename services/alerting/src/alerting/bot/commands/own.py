"""What somebody sets for themselves: signals or none, quiet, the language."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from alerting.bot import arguments
from alerting.bot.answers import Answer, Button
from alerting.bot.commands.market import wanted_symbol
from alerting.bot.commands.rules import want
from alerting.bot.describing import any_of
from alerting.bot.desk import Desk
from alerting.bot.identity import is_chat
from alerting.bot.phrases import LANGUAGES, phrases
from alerting.bot.question import OPERATOR, Command, Question
from alerting.gateway import Away, Health
from alerting.kinds import RULE, SUBSCRIBER
from alerting.management.permissions import OF
from alerting.reasons import Refused
from tocsin_common.documents import SignalRule, Subscriber
from tocsin_common.errors import Rejected
from tocsin_common.subjects import encode_token

LANGUAGE_BUTTON = "la"
LANGUAGE_NAMES = {"en": "English", "id": "Bahasa Indonesia"}

OFF, ALL = "off", "all"


async def subscribe(question: Question, desk: Desk) -> Answer:
    """Be told of signals: of all, or of one symbol. Also brings back a chat that was unsubscribed."""
    symbol = wanted_symbol(question) if question.words else None
    await want_this_chat(question, desk, enabled=True)
    await want_signals(question, desk, symbol)
    return Answer(question.say("own.subscribed", symbol=symbol) if symbol else question.say("own.subscribed_all"))


async def unsubscribe(question: Question, desk: Desk) -> Answer:
    """No signals any more: of any, or of one symbol; with `all` nothing comes to this chat."""
    if question.rest.lower() == ALL:
        await want_this_chat(question, desk, enabled=False)
        return Answer(question.say("own.unsubscribed_everything"))
    symbol = wanted_symbol(question) if question.words else None
    try:
        await desk.management.change(
            question.actor, RULE, signals_id(question.own, symbol), lambda rule: replace(rule, enabled=False)
        )
    except Rejected as error:
        if error.reason != Refused.NOT_FOUND:
            raise
        raise question.refuse("not_found", "own.not_subscribed") from None
    return Answer(question.say("own.unsubscribed", symbol=symbol) if symbol else question.say("own.unsubscribed_all"))


async def want_signals(question: Question, desk: Desk, symbol: str | None) -> None:
    """The rule on signals of a symbol (None: of any), made or switched on."""
    rule = SignalRule(
        rule_id=signals_id(question.own, symbol),
        name=question.say.plain("what.signal", symbol=any_of([symbol] if symbol else [], question.say)),
        subscribers=[question.own.subscriber_id],
        symbols=[symbol] if symbol else [],
    )
    await want(question, desk, rule)


def signals_id(subscriber: Subscriber, symbol: str | None) -> str:
    return f"{subscriber.subscriber_id}{OF}signals{f'-{encode_token(symbol)}' if symbol else ''}"


async def want_this_chat(question: Question, desk: Desk, *, enabled: bool) -> None:
    """Switch the destination on or off that this chat is. Who writes from it proves that it wants to be written to, so
    nobody is asked to confirm it again."""
    chat = str(question.asked.person.user_id)

    def switched(found: Subscriber) -> Subscriber:
        places = [replace(one, enabled=enabled) if is_chat(one, chat) else one for one in found.destinations]
        return replace(found, destinations=places)

    if switched(question.own) != question.own:
        await desk.management.change(OPERATOR, SUBSCRIBER, question.own.subscriber_id, switched)


async def mute(question: Question, desk: Desk) -> Answer:
    """No alerts for a while, counted from when it was said."""
    if question.rest.lower() == OFF:
        await change(question, desk, lambda found: replace(found, muted_until_ms=0))
        return Answer(question.say("own.unmuted"))
    length_s = arguments.length_s(question.rest)
    if length_s is None:
        raise question.refuse("usage", "own.usage_mute")
    until_ms = question.asked.said_ms + length_s * 1000
    if until_ms <= desk.clock_ms():
        raise question.refuse("over", "own.mute_over")
    await change(question, desk, lambda found: replace(found, muted_until_ms=until_ms))
    return Answer(question.say("own.muted", until=question.voice.moment(until_ms)))


async def quiet(question: Question, desk: Desk) -> Answer:
    """No alerts in some hours of the day."""
    if question.rest.lower() == OFF:
        await change(question, desk, lambda found: replace(found, quiet_hours=None))
        return Answer(question.say("own.quiet_off"))
    span, *zones = question.words or [""]
    zone = zones[0] if zones else question.own.zone
    try:
        hours = arguments.hours(span, zone) if len(zones) < 2 else None
    except ValueError:
        raise question.refuse("usage", "own.bad_zone", zone=zone) from None
    if hours is None:
        raise question.refuse("usage", "own.usage_quiet")
    await change(question, desk, lambda found: replace(found, quiet_hours=hours))
    return Answer(question.say("own.quiet", start=hours.start, end=hours.end, zone=hours.zone))


async def language(question: Question, desk: Desk) -> Answer:
    """English or Indonesian; without a word, buttons to choose with."""
    wanted = question.rest.lower()
    if not wanted:
        keys = tuple(Button(LANGUAGE_NAMES[one], f"{LANGUAGE_BUTTON}:{one}") for one in LANGUAGES)
        return Answer(question.say("own.choose_language"), (keys,))
    known = next((one for one in LANGUAGES if one == wanted), None)
    if known is None:
        raise question.refuse("usage", "own.bad_language")
    await change(question, desk, lambda found: replace(found, language=known))
    return Answer(phrases(known)("own.language"))


async def status(question: Question, desk: Desk) -> Answer:
    """What is set for the one who asks, and whether the system is well."""
    own, say, voice = question.own, question.say, question.voice
    rules = desk.management.page(question.actor, RULE, limit=1000)
    off = sum(not held.document.enabled for held in rules)
    muted = own.muted_until_ms > desk.clock_ms()
    lines = [say("own.status", name=own.name)]
    if not own.enabled:
        lines.append(say("own.switched_off"))
    lines.append(say("own.is_muted", until=voice.moment(own.muted_until_ms)) if muted else say("own.not_muted"))
    if own.quiet_hours:
        hours = own.quiet_hours
        lines.append(say("own.is_quiet", start=hours.start, end=hours.end, zone=hours.zone))
    lines.append(say("own.rules", count=len(rules), off=off))
    channels = sorted({one.channel for one in own.destinations if one.enabled and one.verified})
    lines.append(say("own.places", channels=", ".join(channels) or "\N{EN DASH}"))
    return Answer("\n".join([*lines, "", say(await system(desk))]))


async def system(desk: Desk) -> str:
    """The sentence about the system's health."""
    try:
        found = await desk.gateway.get("/health", Health, statuses=(503,))
    except Away:
        return "own.system_unknown"
    return "own.system_well" if found.status == "ok" else "own.system_ill"


async def change(question: Question, desk: Desk, edit: Callable[[Subscriber], Subscriber]) -> None:
    await desk.management.change(question.actor, SUBSCRIBER, question.own.subscriber_id, edit)


COMMANDS = {
    "subscribe": Command(subscribe),
    "unsubscribe": Command(unsubscribe),
    "mute": Command(mute),
    "quiet": Command(quiet),
    "language": Command(language),
    "status": Command(status),
}
PRESSED = {LANGUAGE_BUTTON: Command(language)}
