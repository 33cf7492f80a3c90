"""A report as a PNG: four figures, the sum of R over time, strategies, and the best and worst symbols and hours."""

from __future__ import annotations

import io
from dataclasses import dataclass

import msgspec
from PIL import Image

from alerting.picture.canvas import Canvas
from alerting.picture.head import NAME
from alerting.picture.scores import draw_bars, draw_table
from alerting.picture.sums import Panel, draw_sums
from alerting.picture.themes import THEMES, Colour, Theme, ThemeName
from alerting.reports.phrases import average, days, money, multiple, percent
from alerting.words.voice import Voice
from tocsin_common.events import Language, Summary
from tocsin_common.ids import derive

WIDTH, HEIGHT = 2000, 1620
"""As wide as the picture of a signal, and as high as a phone shows without cutting it."""

EDGE, GAP = 48, 24
TILES = 4


@dataclass(frozen=True, slots=True)
class Page:
    """A report to be drawn, and the language of its words."""

    report: Summary
    language: Language

    @property
    def page_id(self) -> str:
        return derive("page", self.language, content=msgspec.json.encode(self.report))


def draw_report(summary: Summary, theme_name: ThemeName = "dark", language: Language = "en") -> bytes:
    """A PNG of WIDTH x HEIGHT. Takes any finite numbers and any names; what has no room is left out or cut."""
    theme, voice = THEMES[theme_name], Voice(language, summary.zone)
    canvas = Canvas(Image.new("RGB", (WIDTH, HEIGHT), theme.background))
    right, middle = WIDTH - EDGE, (WIDTH - GAP) // 2
    draw_title(canvas, summary, theme, voice)
    draw_tiles(canvas, summary, theme, voice, top=166)
    draw_sums(canvas, Panel(EDGE, 374, right, 860), summary, theme, voice)
    draw_bars(canvas, Panel(EDGE, 884, middle, 1510), summary, theme, voice)
    draw_table(canvas, Panel(middle + GAP, 884, right, 1510), summary, theme, voice)
    draw_foot(canvas, summary, theme, voice, row=1563)
    data = io.BytesIO()
    canvas.image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def draw_title(canvas: Canvas, summary: Summary, theme: Theme, voice: Voice) -> None:
    """What it is, of which days, and who says so."""
    canvas.text(EDGE, 66, voice.say(f"report.{summary.period}"), 56, theme.text, anchor="lm", weight=0.9)
    when = f"{days(summary, voice)}   \N{MIDDLE DOT}   {summary.zone}"
    canvas.text(EDGE, 122, when, 30, theme.pale, anchor="lm", room=WIDTH - 2 * EDGE - 300)
    canvas.text(WIDTH - EDGE, 62, NAME, 30, theme.pale, anchor="rm", weight=0.8)


def draw_tiles(canvas: Canvas, summary: Summary, theme: Theme, voice: Voice, *, top: int) -> None:
    """Result, win rate with its interval, signals, and what one gives on average; each beside the period before."""
    now, before, say = summary.now, summary.before, voice.say
    result = say("report.before", value=f"{multiple(before.total_r)} R")
    between = f"{percent(now.win_rate_low).removesuffix(' %')}-{percent(now.win_rate_high)}"
    rate = say("report.against", now=between, before=percent(before.win_rate))
    signals = say("report.ended_and_open", outcomes=now.outcomes, active=summary.active)
    factor = say("report.factor", factor=f"{now.profit_factor:.2f}") if now.profit_factor is not None else ""
    tiles = (
        (say("report.result"), f"{multiple(now.total_r)} R", result, tone(now.total_r, theme)),
        (say("report.win_rate"), percent(now.win_rate), rate if now.outcomes else "", theme.text),
        (say("report.signals"), f"{now.signals:,}", signals, theme.text),
        (say("report.average"), f"{average(now)} R", factor, tone(now.average_r, theme)),
    )
    width = (WIDTH - 2 * EDGE - (TILES - 1) * GAP) // TILES
    for place, (name, value, note, colour) in enumerate(tiles):
        left = EDGE + place * (width + GAP)
        canvas.rounded(left, top, left + width, top + 184, theme.faint(theme.text, 0.045), 18)
        room = width - 56
        canvas.text(left + 28, top + 38, name, 27, theme.pale, anchor="lm", room=room)
        canvas.text(left + 28, top + 93, value, 60, colour, anchor="lm", room=room, weight=0.9)
        canvas.text(left + 28, top + 150, note, 26, theme.pale, anchor="lm", room=room)


def draw_foot(canvas: Canvas, summary: Summary, theme: Theme, voice: Voice, *, row: int) -> None:
    """What became of the alerts at the left, and of the first portfolio at the right."""
    told = voice.say(
        "report.delivered",
        raised=summary.raised,
        sent=summary.sent,
        undelivered=summary.undelivered,
        suppressed=summary.suppressed,
    )
    half = (WIDTH - 2 * EDGE - GAP) // 2
    end = canvas.text(EDGE, row, voice.say("report.alerts"), 27, theme.pale, anchor="lm")
    canvas.text(end + 18, row, told, 27, theme.text, anchor="lm", room=EDGE + half - end)
    for one in summary.accounts[:1]:
        change = percent(one.change, signed=True, digits=2)
        grown = voice.say("report.grown", change=change, equity=money(one.equity), currency=one.currency)
        left = EDGE + half + GAP
        end = canvas.text(
            left, row, voice.say("report.account", name=one.portfolio), 27, theme.pale, anchor="lm", room=360
        )
        canvas.text(end + 18, row, grown, 27, tone(one.change, theme), anchor="lm", room=WIDTH - EDGE - end - 18)


def tone(value: float | None, theme: Theme) -> Colour:
    """Green above nothing, red below."""
    return theme.target if (value or 0) > 0 else theme.stop if (value or 0) < 0 else theme.text
