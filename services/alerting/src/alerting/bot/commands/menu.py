"""`/alert`: kind, symbol, parameter, then "make it". What is typed at once goes through the same steps."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from alerting.bot.answers import Answer, Button, Rows, rows_of
from alerting.bot.commands.rules import want
from alerting.bot.describing import any_of, what
from alerting.bot.desk import Desk
from alerting.bot.drafts import ANY, KINDS, NEEDS, OF_ALL, RESULTS, Draft, Unfit
from alerting.bot.question import Command, Question
from alerting.bot.seals import PAYLOAD_BYTES_MAX
from alerting.words.wording import price

STEP, MAKE, CANCEL = "al", "mk", "no"

LEVELS_PERCENT = (-5, -2, -1, 1, 2, 5)
MOVES = (("1", "5m"), ("2", "15m"), ("3", "1h"), ("5", "1h"), ("5", "4h"), ("10", "1d"))
VOLUMES = (("3", "5m"), ("5", "5m"), ("3", "15m"), ("5", "15m"), ("3", "1h"), ("5", "1h"))
CONFIDENCES = ("0", "60", "75", "90")

LEVEL_DIGITS = 5
"""Significant digits of the levels offered: nobody waits for 64,123.57."""


async def alert(question: Question, desk: Desk) -> Answer:
    """Begin, or go on from what was typed."""
    return await step(question, desk, Draft.typed(question.rest))


async def pressed(question: Question, desk: Desk) -> Answer:
    return await step(question, desk, Draft.of(question.rest, ","))


async def step(question: Question, desk: Desk, draft: Draft) -> Answer:
    """What is to be chosen next, or whether all is as it was meant. Raises Refusal."""
    try:
        match len(draft.parts):
            case 0:
                return kinds(question)
            case 1:
                return symbols(question, desk, draft)
            case count if count < NEEDS[draft.kind]:
                return await parameters(question, desk, draft)
        return confirm(question, desk, draft)
    except Unfit:
        raise question.refuse("usage", "menu.usage") from None


def kinds(question: Question) -> Answer:
    say = question.say
    keys = (Button(say.plain(f"menu.kind_{kind}"), f"{STEP}:{kind}") for kind in KINDS)
    return Answer(say("menu.kind"), (*rows_of(keys, 2), cancel(question)))


def symbols(question: Question, desk: Desk, draft: Draft) -> Answer:
    offered = [(symbol, symbol) for symbol in desk.settings.symbols]
    if draft.kind in OF_ALL:
        offered.append((question.say.plain("menu.any_symbol"), ANY))
    return Answer(question.say("menu.symbol", kind=draft.kind), choices(question, draft, offered, 2))


async def parameters(question: Question, desk: Desk, draft: Draft) -> Answer:
    """The choices of a kind, for the symbol that is chosen."""
    say, symbol = question.say, draft.symbol
    name = any_of([] if symbol == ANY else [symbol], say)
    match draft.kind:
        case "price":
            return await levels(question, desk, draft)
        case "move":
            offered = [
                (say.plain("menu.move_label", percent=percent, window=window), f"{percent},{window}")
                for percent, window in MOVES
            ]
            return Answer(say("menu.move", symbol=name), choices(question, draft, offered, 2))
        case "volume":
            offered = [
                (say.plain("menu.volume_label", factor=factor, timeframe=timeframe), f"{factor},{timeframe}")
                for factor, timeframe in VOLUMES
            ]
            return Answer(say("menu.volume", symbol=name), choices(question, draft, offered, 2))
        case "signal":
            offered = [
                (say.plain("menu.at_least" if int(one) else "menu.any_confidence", confidence=one), one)
                for one in CONFIDENCES
            ]
            return Answer(say("menu.confidence", symbol=name), choices(question, draft, offered, 2))
    named = {ANY: "any"}
    offered = [(say.plain(f"menu.result_{named.get(one, one)}"), one) for one in RESULTS]
    return Answer(say("menu.result", symbol=name), choices(question, draft, offered, 3))


async def levels(question: Question, desk: Desk, draft: Draft) -> Answer:
    """Levels around the last price; without one, how to type one."""
    say, symbol = question.say, draft.symbol
    found = (await desk.candles(symbol, "1m", 1)).items
    if not found:
        return Answer(say("menu.level_typed", symbol=symbol), (cancel(question),))
    last = found[0].close
    near = [(f"{percent:+d} %", rounded(last * (1 + percent / 100))) for percent in LEVELS_PERCENT]
    offered = [(f"{price(float(level))} ({label})", level) for label, level in near]
    return Answer(say("menu.level", symbol=symbol, price=price(last)), choices(question, draft, offered, 2))


def rounded(level: float) -> str:
    """A plain decimal of few digits: `64800`, `0.00001234`."""
    return price(float(f"{level:.{LEVEL_DIGITS}g}")).replace(",", "")


def confirm(question: Question, desk: Desk, draft: Draft) -> Answer:
    say = question.say
    rule = draft.rule(desk.settings.exchange, question.own)
    made = f"{MAKE}:{draft.plus()}"
    if len(made.encode()) > PAYLOAD_BYTES_MAX:
        raise Unfit(made)
    text = say("menu.confirm", what=what(rule, say, question.voice))
    return Answer(text, ((Button(say.plain("menu.make"), made), *cancel(question)),))


async def make(question: Question, desk: Desk) -> Answer:
    """Make it. Pressed twice it is made once, because the same draft is the same alert."""
    try:
        rule = Draft.of(question.rest, ",").rule(desk.settings.exchange, question.own)
    except (Unfit, IndexError):
        raise question.refuse("stale_button", "say.stale_button") from None
    described = what(rule, question.say, question.voice)
    await want(question, desk, replace(rule, name=described))
    return Answer(question.say("menu.made", what=described))


async def cancelled(question: Question, _desk: Desk) -> Answer:
    return Answer(question.say("say.cancelled"))


def choices(question: Question, draft: Draft, offered: Iterable[tuple[str, str]], across: int) -> Rows:
    """Buttons that add to the draft; one that would not fit is left out: it can be typed."""
    keys = [Button(label, f"{STEP}:{draft.plus(value)}") for label, value in offered]
    return (*rows_of((key for key in keys if len(key.data.encode()) <= PAYLOAD_BYTES_MAX), across), cancel(question))


def cancel(question: Question) -> tuple[Button, ...]:
    return (Button(question.say.plain("menu.cancel"), CANCEL),)


COMMANDS = {"alert": Command(alert)}
PRESSED = {STEP: Command(pressed), MAKE: Command(make), CANCEL: Command(cancelled)}
