"""How strategies, symbols and hours did: bars around nothing, and a table of the best and the worst."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.picture.canvas import Canvas
from alerting.picture.sums import INSET, Panel
from alerting.picture.themes import Theme
from alerting.reports.phrases import average, percent, unusual
from alerting.words.voice import Voice
from alerting.words.wording import words
from tocsin_common.events import Named, Summary

HEAD, BAR_ROW, BAR_HEIGHT = 84, 56, 34
TABLE_ROW, PART_GAP, NOTE_ROW, NOTES_MAX = 39, 14, 38, 2
NAME_WIDTH, VALUE_WIDTH, COUNT_WIDTH = 340, 110, 110
ENDED, WON = 320, 170
"""Where the columns of a table end, counted from its right edge; the last one ends there."""


def draw_bars(canvas: Canvas, panel: Panel, summary: Summary, theme: Theme, voice: Voice) -> None:
    """A strategy a row, from the best to the worst, those with too few outcomes pale; what is unusual stands below."""
    panel.draw(canvas, theme)
    left, right = panel.left + INSET, panel.right - INSET
    canvas.text(left, panel.top + 44, voice.say("report.strategies"), 28, theme.pale, anchor="lm", room=right - left)
    named = summary.strategies
    begin, end = left + NAME_WIDTH, right - VALUE_WIDTH - COUNT_WIDTH
    averages = [one.score.average_r or 0.0 if one.enough else 0.0 for one in named]
    ends, zero = bar_ends(averages, begin, end)
    canvas.rectangle(
        zero - 1, panel.top + HEAD, zero + 1, panel.top + HEAD + len(named) * BAR_ROW, theme.faint(theme.pale, 0.5)
    )
    for place, (one, bar_end) in enumerate(zip(named, ends, strict=True)):
        middle = panel.top + HEAD + place * BAR_ROW + BAR_ROW // 2
        colour = theme.text if one.enough else theme.pale
        canvas.text(left, middle, words(one.name), 29, colour, anchor="lm", room=NAME_WIDTH - 24)
        if one.enough:
            draw_bar(canvas, zero, bar_end, middle, theme)
            canvas.text(right - COUNT_WIDTH, middle, average(one.score), 29, colour, anchor="rm", weight=0.5)
        else:
            canvas.text(right - COUNT_WIDTH, middle, voice.say("report.too_few"), 26, colour, anchor="rm")
        canvas.text(right, middle, f"{one.score.outcomes:,}", 27, theme.pale, anchor="rm", room=COUNT_WIDTH - 20)
    for place, found in enumerate(summary.unusual[:NOTES_MAX]):
        row = panel.bottom - 36 - (min(len(summary.unusual), NOTES_MAX) - 1 - place) * NOTE_ROW
        canvas.text(left, row, unusual(found, voice), 26, theme.lines[0], anchor="lm", room=right - left)


def bar_ends(values: Sequence[float], begin: int, end: int) -> tuple[list[int], int]:
    """The columns where bars end, and the one of nothing where they begin: the longest reach from `begin` to `end`."""
    unit = max(map(abs, values), default=0.0) or 1.0
    parts = [value / unit for value in values]
    low, high = min([0.0, *parts]), max([0.0, *parts])
    pixels = (end - begin) / (high - low) if high > low else 0.0
    zero = begin - round(low * pixels)
    return [zero + round(part * pixels) for part in parts], zero


def draw_bar(canvas: Canvas, zero: int, bar_end: int, middle: int, theme: Theme) -> None:
    """At least four pixels long."""
    length = max(abs(bar_end - zero), 4)
    left = zero if bar_end >= zero else zero - length
    top, colour = middle - BAR_HEIGHT // 2, theme.target if bar_end >= zero else theme.stop
    canvas.rounded(left, top, left + length, top + BAR_HEIGHT, colour, min(6, length // 2))


def draw_table(canvas: Canvas, panel: Panel, summary: Summary, theme: Theme, voice: Voice) -> None:
    """The best and the worst symbols, then hours, with outcomes, win rate and average."""
    panel.draw(canvas, theme)
    right, row = panel.right - INSET, panel.top + 44
    for end, name in ((ENDED, "ended"), (WON, "won_share"), (0, "average_r")):
        canvas.text(right - end, row, voice.say(f"report.{name}"), 25, theme.pale, anchor="rm", room=130)
    parts = (
        ("best_symbols", summary.best_symbols),
        ("worst_symbols", summary.worst_symbols),
        ("best_hours", summary.best_hours),
        ("worst_hours", summary.worst_hours),
    )
    for title, named in parts:
        if named:
            canvas.text(panel.left + INSET, row, voice.say(f"report.{title}"), 28, theme.pale, anchor="lm", room=280)
            row = draw_rows(canvas, panel, named, row, theme)


def draw_rows(canvas: Canvas, panel: Panel, named: Sequence[Named], row: int, theme: Theme) -> int:
    """A row each, below `row`. Returns where the next part's title stands."""
    left, right = panel.left + INSET, panel.right - INSET
    for one in named:
        row += TABLE_ROW
        colour = theme.target if (one.score.average_r or 0.0) >= 0 else theme.stop
        canvas.text(left, row, one.name, 29, theme.text, anchor="lm", room=right - ENDED - 110 - left)
        canvas.text(right - ENDED, row, f"{one.score.outcomes:,}", 28, theme.text, anchor="rm", room=100)
        canvas.text(right - WON, row, percent(one.score.win_rate), 28, theme.text, anchor="rm", room=120)
        canvas.text(right, row, average(one.score), 28, colour, anchor="rm", room=140, weight=0.5)
    return row + TABLE_ROW + PART_GAP
