"""Somebody's own alerts: listed, and with a button each switched on or off, or deleted."""

from __future__ import annotations

from dataclasses import replace as changed

from msgspec.structs import replace

from alerting.bot.answers import Answer, Button, Rows, fit, rows_of
from alerting.bot.describing import what
from alerting.bot.desk import Desk
from alerting.bot.question import Command, Question
from alerting.kinds import RULE, Held
from alerting.reasons import Refused
from tocsin_common.documents import AlertRule
from tocsin_common.errors import Rejected
from tocsin_common.ids import derive

BUTTON = "ru"
ON, OFF, ASK, DELETE, SHOW = "on", "off", "ask", "del", "show"

PER_PAGE = 6

TAG_CHARS = 12
"""60 bits of a rule's id: enough to tell one person's rules apart."""


async def alerts(question: Question, desk: Desk) -> Answer:
    """The first page."""
    return listed(question, own_rules(question, desk), page=0)


async def pressed(question: Question, desk: Desk) -> Answer:
    """`on:TAG:PAGE` and its like; what it says is done, whatever it was before, so twice is as good as once."""
    action, tag, page = question.rest.split(":")
    rules = own_rules(question, desk)
    number = int(page)
    if action == SHOW:
        return listed(question, rules, number)
    held = next((one for one in rules if tag_of(one) == tag), None)
    if held is None:
        return changed(listed(question, rules, number), toast=question.say.plain("rules.gone"))
    if action == ASK:
        return sure(question, held.document, tag, number)
    rule_id = held.document.rule_id
    if action == DELETE:
        await desk.management.delete(question.actor, RULE, rule_id, held.revision)
        done = "rules.deleted"
    else:
        enabled = action == ON
        await desk.management.change(question.actor, RULE, rule_id, lambda rule: replace(rule, enabled=enabled))
        done = "rules.turned_on" if enabled else "rules.turned_off"
    return changed(listed(question, own_rules(question, desk), number), toast=question.say.plain(done))


def own_rules(question: Question, desk: Desk) -> list[Held[AlertRule]]:
    return desk.management.page(question.actor, RULE, limit=1000)


async def want(question: Question, desk: Desk, rule: AlertRule) -> None:
    """Make an alert, or switch it on where it is there already: asked twice, it is one."""
    try:
        await desk.management.change(question.actor, RULE, rule.rule_id, lambda found: replace(found, enabled=True))
    except Rejected as error:
        if error.reason != Refused.NOT_FOUND:
            raise
        await desk.management.put(question.actor, RULE, rule, 0)


def listed(question: Question, rules: list[Held[AlertRule]], page: int) -> Answer:
    """One page of them, with their buttons."""
    say = question.say
    if not rules:
        return Answer(say("rules.none"))
    pages = -(-len(rules) // PER_PAGE)
    page = min(max(page, 0), pages - 1)
    first = page * PER_PAGE
    shown = list(enumerate(rules, start=1))[first : first + PER_PAGE]
    lines = [say("rules.title"), *(row(question, number, held.document) for number, held in shown)]
    keys: Rows = tuple(keys_of(question, number, held, page) for number, held in shown)
    if pages > 1:
        lines.append(say("say.page", page=page + 1, pages=pages))
        keys += turning(page, pages)
    return Answer(fit(lines), keys)


def row(question: Question, number: int, rule: AlertRule) -> str:
    state = "\N{BELL}" if rule.enabled else "\N{BELL WITH CANCELLATION STROKE}"
    return question.say("rules.row", number=number, state=state, what=what(rule, question.say, question.voice))


def keys_of(question: Question, number: int, held: Held[AlertRule], page: int) -> tuple[Button, ...]:
    on, tag = held.document.enabled, tag_of(held)
    label = question.say.plain("rules.turn_off" if on else "rules.turn_on", number=number)
    turn = Button(label, f"{BUTTON}:{OFF if on else ON}:{tag}:{page}")
    return turn, Button(question.say.plain("rules.delete_number", number=number), f"{BUTTON}:{ASK}:{tag}:{page}")


def turning(page: int, pages: int) -> Rows:
    to = [(page - 1, "\N{BLACK LEFT-POINTING TRIANGLE}"), (page + 1, "\N{BLACK RIGHT-POINTING TRIANGLE}")]
    return rows_of((Button(sign, f"{BUTTON}:{SHOW}::{number}") for number, sign in to if 0 <= number < pages), 2)


def sure(question: Question, rule: AlertRule, tag: str, page: int) -> Answer:
    say = question.say
    keys = (
        Button(say.plain("rules.delete"), f"{BUTTON}:{DELETE}:{tag}:{page}"),
        Button(say.plain("rules.keep"), f"{BUTTON}:{SHOW}::{page}"),
    )
    return Answer(say("rules.sure", what=what(rule, say, question.voice)), (keys,))


def tag_of(held: Held[AlertRule]) -> str:
    return derive("rule", held.document.rule_id)[:TAG_CHARS]


COMMANDS = {"alerts": Command(alerts)}
PRESSED = {BUTTON: Command(pressed)}
