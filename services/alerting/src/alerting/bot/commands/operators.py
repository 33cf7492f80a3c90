"""What operators ask and do. They are known by their user ids, wherever they write from."""

from __future__ import annotations

from html import escape

from alerting.bot import arguments
from alerting.bot.answers import Answer, Button, fit
from alerting.bot.commands.figures import DAY_MS
from alerting.bot.commands.menu import CANCEL
from alerting.bot.desk import Desk
from alerting.bot.question import OPERATOR, Command, Question
from alerting.broadcasts import TEXT_MAX
from alerting.channels import Message
from alerting.channels.telegram import markup
from alerting.gateway import Counts, Health
from alerting.kinds import SILENCE
from alerting.picture.report import Page
from alerting.reports import content
from alerting.reports.condense import condensed
from alerting.reports.figures import figures
from alerting.reports.schedule import Due
from tocsin_common.documents import Silence
from tocsin_common.ids import derive

OFF = "off"
SEND = "bc"
WEEK_DAYS = 7
ID_CHARS = 10
"""50 bits: silences are few, and people type their ids."""


async def health(question: Question, desk: Desk) -> Answer:
    """Whether everything is there, and how far the projections are behind."""
    say = question.say
    found = await desk.gateway.get("/health", Health, statuses=(503,))
    counts = await desk.gateway.get("/counts", Counts, statuses=(503,))
    behind = {name: one.lag for name, one in counts.streams.items() if one.lag}
    lines = [say("operators.well" if found.status == "ok" else "operators.ill")]
    lines += [say("operators.problem", name=name, problem=problem) for name, problem in found.problems.items()]
    lines.append(say("operators.projector", state=found.projector))
    if behind:
        streams = ", ".join(f"{name} {lag:,}" for name, lag in behind.items())
        lines.append(say("operators.lag", streams=streams))
    else:
        lines.append(say("operators.no_lag"))
    return Answer(fit(lines))


async def silence(question: Question, desk: Desk) -> Answer:
    """No alerts for anybody for a while, of all or of one symbol; `off ID` ends it."""
    say = question.say
    if not 1 <= len(question.words) <= 2:
        raise question.refuse("usage", "operators.usage_silence")
    first, *rest = question.words
    if first.lower() == OFF and rest:
        held = await desk.management.get(OPERATOR, SILENCE, rest[0])
        await desk.management.delete(OPERATOR, SILENCE, rest[0], held.revision)
        return Answer(say("operators.silence_over"))
    length_s, symbol = arguments.length_s(first), arguments.symbol(rest[0]) if rest else None
    if length_s is None or (rest and symbol is None):
        raise question.refuse("usage", "operators.usage_silence")
    made = Silence(
        silence_id=derive("bot silence", question.asked.update_id, question.asked.said_ms)[:ID_CHARS],
        starts_ms=question.asked.said_ms,
        ends_ms=question.asked.said_ms + length_s * 1000,
        author=question.subscriber.subscriber_id if question.subscriber else "telegram",
        symbols=[symbol] if symbol else [],
    )
    await desk.management.put(OPERATOR, SILENCE, made, 0)
    until = question.voice.moment(made.ends_ms)
    if symbol:
        return Answer(say("operators.silenced_symbol", symbol=symbol, until=until, id=made.silence_id))
    return Answer(say("operators.silenced", until=until, id=made.silence_id))


async def weekly_report(question: Question, desk: Desk) -> Answer:
    """The last seven days beside the seven before, in words and picture as the scheduled report has them."""
    voice, now_ms = question.voice, desk.clock_ms()
    due = Due("weekly", voice.zone, now_ms - WEEK_DAYS * DAY_MS, now_ms, now_ms)
    summary = condensed(await figures(desk.gateway, due, min_count=desk.min_count), due)
    said = content.title(summary, voice), content.text(summary, voice), content.fields(summary, voice)
    picture = await desk.pictures.of_report(Page(summary, voice.language)) if desk.pictures else None
    return Answer(markup(Message("", "", *said, now_ms)), picture=picture)


async def broadcast(question: Question, desk: Desk) -> Answer:
    """Show what all subscribers would read, with a button that sends it. The message is where the text is kept."""
    say, text = question.say, question.rest
    if not text:
        raise question.refuse("usage", "operators.usage_broadcast")
    if len(text) > TEXT_MAX:
        raise question.refuse("usage", "operators.broadcast_long", limit=TEXT_MAX)
    header = say("operators.broadcast_sure", count=len(desk.broadcasts.audience()))
    send = Button(say.plain("operators.broadcast_send"), f"{SEND}:{digest(text)}")
    cancel = Button(say.plain("menu.cancel"), CANCEL)
    return Answer(f"{header}\n\n{escape(text)}", ((send, cancel),))


async def broadcast_pressed(question: Question, desk: Desk) -> Answer:
    """Send what stands in the message, if it is what the button was made for. Pressed twice, it goes out once."""
    press = question.asked.press
    assert press is not None
    text = press.text.partition("\n\n")[2]
    if digest(text) != question.rest:
        raise question.refuse("stale_button", "say.stale_button")
    told = await desk.broadcasts.send(derive("notice", question.asked.chat_id, press.message_id, text), text)
    return Answer(f"{question.say('operators.broadcast_sent', count=told)}\n\n{escape(text)}")


def digest(text: str) -> str:
    """Blanks at the ends and between lines are not counted: Telegram may show them otherwise."""
    return derive("broadcast", " ".join(text.split()))[:ID_CHARS]


COMMANDS = {
    "health": Command(health, who="operator"),
    "silence": Command(silence, who="operator"),
    "weekly_report": Command(weekly_report, who="operator"),
    "broadcast": Command(broadcast, who="operator"),
}
PRESSED = {SEND: Command(broadcast_pressed, who="operator")}
