"""The sum of R over a period, as a line over what it has won and lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from alerting.picture.canvas import Canvas
from alerting.picture.chart import Floats, PriceScale
from alerting.picture.texts import tick_labels
from alerting.picture.themes import Theme
from alerting.reports.phrases import day, multiple
from alerting.words.voice import Voice
from tocsin_common.events import Summary

HEAD, FOOT, AXIS, INSET = 84, 62, 150, 28
TICKS = 5
LABEL_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of the picture; right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        canvas.rounded(self.left, self.top, self.right, self.bottom, theme.faint(theme.text, 0.045), 18)

    def inner(self) -> Panel:
        """Where a curve stands, with room around it for its name and its axes."""
        return Panel(self.left + INSET, self.top + HEAD, self.right - AXIS, self.bottom - FOOT)


def draw_sums(canvas: Canvas, panel: Panel, summary: Summary, theme: Theme, voice: Voice) -> None:
    """Green above nothing, red below; the last sum stands at the right."""
    panel.draw(canvas, theme)
    canvas.text(panel.left + INSET, panel.top + 44, voice.say("report.curve"), 28, theme.pale, anchor="lm")
    inner = panel.inner()
    columns, sums = places(summary, inner)
    scale = scale_of(sums, inner)
    draw_days(canvas, inner, summary, theme, voice)
    draw_ticks(canvas, inner, scale, theme, taken=scale.row(float(sums[-1])))
    fill(canvas, columns, sums, scale, theme)
    canvas.curve(columns, inner.bottom - scale.share(sums) * (inner.bottom - inner.top), theme.entry, 5.0)
    draw_last(canvas, inner, scale, float(sums[-1]), theme)
    if not summary.now.outcomes:
        middle = (inner.left + inner.right) // 2
        canvas.text(middle, inner.top + 80, voice.say("report.nothing"), 30, theme.pale, anchor="mm")


def places(summary: Summary, inner: Panel) -> tuple[NDArray[np.int64], Floats]:
    """The column and the sum of each point, ascending; of several in one column the last."""
    share = np.array([(at - summary.from_ms) / (summary.to_ms - summary.from_ms) for at, _ in summary.curve] or [0.0])
    columns = np.rint(inner.left + np.clip(share, 0.0, 1.0) * (inner.right - inner.left)).astype(np.int64)
    sums = np.array([r for _, r in summary.curve] or [0.0], np.float64)
    ascending = np.maximum.accumulate(columns)
    last = np.append(np.diff(ascending) > 0, True)
    return ascending[last], sums[last]


def scale_of(sums: Floats, inner: Panel) -> PriceScale:
    """Nothing is on it always, and some room beyond the ends."""
    low, high = min(0.0, float(sums.min())), max(0.0, float(sums.max()))
    room = (high / 2 - low / 2) * 0.16 or 0.5
    return PriceScale(max(low - room, -1e300), min(high + room, 1e300), inner.top, inner.bottom)


def fill(canvas: Canvas, columns: NDArray[np.int64], sums: Floats, scale: PriceScale, theme: Theme) -> None:
    """The area between the line and nothing."""
    zero = scale.row(0.0)
    every = np.arange(columns[0], columns[-1] + 1)
    rows = scale.rows(np.interp(every, columns, sums))
    won, lost = theme.faint(theme.target, 0.20), theme.faint(theme.stop, 0.20)
    for x, row in zip(every.tolist(), rows.tolist(), strict=True):
        canvas.rectangle(x, min(row, zero), x + 1, max(row, zero), won if row < zero else lost)


def draw_ticks(canvas: Canvas, inner: Panel, scale: PriceScale, theme: Theme, *, taken: int) -> None:
    """Faint lines at round sums, a stronger one at nothing; named where the last sum does not stand."""
    ticks = scale.ticks(TICKS)
    for value, label in zip(ticks, tick_labels(ticks), strict=True):
        row = scale.row(value)
        canvas.rectangle(
            inner.left, row, inner.right, row + (1 if value else 2), theme.faint(theme.pale, 0.5 if not value else 0.22)
        )
        if abs(row - taken) > 38:
            canvas.text(inner.right + 22, row, label, 25, theme.pale, anchor="lm", room=AXIS - 30)


def draw_last(canvas: Canvas, inner: Panel, scale: PriceScale, last: float, theme: Theme) -> None:
    row = min(max(scale.row(last), inner.top), inner.bottom)
    colour = theme.target if last > 0 else theme.stop if last < 0 else theme.pale
    canvas.rounded(inner.right + 10, row - 23, inner.right + AXIS - 14, row + 23, colour, 8)
    middle = inner.right + AXIS // 2 - 2
    canvas.text(middle, row, multiple(last), 27, theme.on_level, anchor="mm", room=AXIS - 34, weight=0.6)


def draw_days(canvas: Canvas, inner: Panel, summary: Summary, theme: Theme, voice: Voice) -> None:
    """A line and a name where a day begins in the zone, or an hour where there is but one day."""
    zone = ZoneInfo(summary.zone)
    length_ms, free_from = summary.to_ms - summary.from_ms, inner.left
    when = datetime.fromtimestamp(summary.from_ms / 1000, zone)
    daily = summary.period == "daily"
    while (at_ms := when.timestamp() * 1000) < summary.to_ms:
        x = round(inner.left + (at_ms - summary.from_ms) / length_ms * (inner.right - inner.left))
        if x >= free_from:
            canvas.rectangle(x, inner.top, x + 1, inner.bottom, theme.faint(theme.pale, 0.22))
            label = f"{when:%H:%M}" if daily else day(when, voice)
            canvas.text(x, inner.bottom + 34, label, 25, theme.pale, anchor="lm" if x == inner.left else "mm")
            free_from = x + LABEL_WIDTH
        when += timedelta(hours=3) if daily else timedelta(days=1)
