"""What a digest says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from alerting.channels.text import one_line
from alerting.digests.later import LATE_BOX
from alerting.words.content import Content
from alerting.words.voice import Voice
from alerting.words.wording import words
from tocsin_common.events import AsideReason, ChannelName, DigestLine

MAX_LINES = 20
"""With titles of some 60 characters, what a phone shows without much scrolling, and half of what Telegram takes."""

LATE_S = 60.0
"""A single line that is told later than this says so, as an alert does."""


def compose(lines: Sequence[DigestLine], channel: ChannelName, voice: Voice, *, now_ms: int) -> Content:
    """`lines` in the order of the market, at least one. One that is alone says all that it would have said."""
    why = _why(lines, channel, voice, now_ms)
    if len(lines) == 1:
        return _alone(lines[0], why, voice, now_ms)
    listed = _each(lines, voice) if len(lines) <= MAX_LINES else _grouped(lines, voice)
    title = voice.say(f"digest.title_{_reason(lines)}", count=f"{len(lines):,}")
    return Content(title, "\n".join([*([why, ""] if why else []), *listed]), {})


def _alone(line: DigestLine, why: str, voice: Voice, now_ms: int) -> Content:
    late_s = (now_ms - line.stored_ms) / 1000
    late = (
        {voice.say("fields.late_by"): voice.duration(late_s)} if late_s >= LATE_S and _reason([line]) == "late" else {}
    )
    return Content(line.title, "\n\n".join(part for part in (line.text, why) if part), line.fields | late)


def _why(lines: Sequence[DigestLine], channel: ChannelName, voice: Voice, now_ms: int) -> str:
    """Why they come together; nothing where that was asked for."""
    if _reason(lines) != "late":
        return ""
    since, until = voice.moment(min(line.stored_ms for line in lines)), voice.moment(now_ms)
    cause = "unreachable" if any(line.unreachable for line in lines) else "behind"
    return voice.say(f"digest.{cause}", channel=channel, since=since, until=until)


def _reason(lines: Sequence[DigestLine]) -> AsideReason:
    """Why the lines of a box wait; whatever they waited for before, in the late one they are late."""
    return "late" if lines[0].box == LATE_BOX else lines[0].reason


def _each(lines: Iterable[DigestLine], voice: Voice) -> Iterator[str]:
    for line in lines:
        yield voice.say("digest.line", moment=voice.moment(line.ts_ms), title=one_line(line.title))


def _grouped(lines: Sequence[DigestLine], voice: Voice) -> Iterator[str]:
    """So many of each symbol and strategy, most first; then how many are not listed."""
    groups = Counter((line.symbol, line.strategy, line.kind) for line in lines)
    listed = groups.most_common(MAX_LINES)
    for (symbol, strategy, kind), count in listed:
        what = words(strategy) if strategy else voice.say(f"kind.{kind}")
        about = f"{symbol}, {what}" if symbol else what
        yield voice.say("digest.group", count=f"{count:,}", about=one_line(about))
    rest = len(lines) - sum(count for _, count in listed)
    if rest:
        yield voice.say("digest.more", count=f"{rest:,}")
