"""A chart as a PNG. Pure; everything is drawn with Pillow, and its own typeface."""

from __future__ import annotations

import io

from PIL import Image

from alerting.picture.canvas import Canvas
from alerting.picture.chart import Chart, Level, PriceScale, levels, price_scale
from alerting.picture.head import draw_head
from alerting.picture.plot import Area, draw_candles, draw_gaps, draw_lines, draw_times, draw_volume, draw_zones
from alerting.picture.texts import level_labels, tick_labels
from alerting.picture.themes import THEMES, Colour, Theme, ThemeName
from tocsin_common.events import SignalRaised

WIDTH, HEIGHT = 2000, 1200
"""1000 x 600 at twice the density: sharp on a phone, and within what Telegram shows without making it smaller."""

HEAD, FOOT, LEFT, AXIS = 190, 68, 40, 330
"""Pixels around the plot: above, below, at its left, and for the labels at its right."""

VOLUME_SHARE = 0.17
"""Of the plot's height."""

LABEL = 50
"""The height of a level's label, with the gap to the next one."""

TICKS = 8


def draw(chart: Chart, theme_name: ThemeName = "dark") -> bytes:
    """A PNG of WIDTH x HEIGHT: the last candles up to the signal's own, its levels, volume, and what it is about.

    Takes any finite numbers, any number of candles and any text; what has no room is left out or cut.
    """
    theme, chart = THEMES[theme_name], chart.latest()
    canvas = Canvas(Image.new("RGB", (WIDTH, HEIGHT), theme.background))
    area = Area.of(chart, left=LEFT, top=HEAD, right=WIDTH - AXIS, bottom=HEIGHT - FOOT, volume_share=VOLUME_SHARE)
    scale = price_scale(chart, top=area.top, bottom=area.floor)
    marks = levels(chart.signal, scale, height=LABEL)
    if isinstance(chart.signal, SignalRaised):
        draw_zones(canvas, area, scale, chart.signal, theme)
    draw_ticks(canvas, area, scale, marks, theme)
    draw_times(canvas, area, chart, theme)
    draw_gaps(canvas, area, chart, theme)
    draw_volume(canvas, area, chart, theme)
    draw_levels(canvas, area, marks, theme)
    draw_candles(canvas, area, scale, chart, theme)
    draw_lines(canvas, area, scale, chart, theme)
    draw_head(canvas, chart, theme, left=LEFT, right=WIDTH - LEFT)
    data = io.BytesIO()
    canvas.image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def draw_ticks(canvas: Canvas, area: Area, scale: PriceScale, marks: list[Level], theme: Theme) -> None:
    """Faint lines at round prices, named where no level's label stands."""
    taken = [mark.label_row for mark in marks]
    ticks = scale.ticks(TICKS)
    for value, label in zip(ticks, tick_labels(ticks), strict=True):
        row = scale.row(value)
        canvas.rectangle(area.left, row, area.right, row + 1, theme.grid)
        if all(abs(row - other) > LABEL for other in taken):
            canvas.text(area.right + 30, row, label, 26, theme.pale, anchor="lm", room=AXIS - 50)


def draw_levels(canvas: Canvas, area: Area, marks: list[Level], theme: Theme) -> None:
    """A line from the signal on at each level's price, joined to its label at the right; dashes before the signal."""
    labels = level_labels([mark.price for mark in marks])
    for mark, label in zip(marks, labels, strict=True):
        colour = level_colour(mark, theme)
        start = area.signal_column
        if not mark.beyond:
            canvas.dashes(area.left, start, mark.row, theme.faint(colour, 0.45))
            canvas.rectangle(start, mark.row - 1, area.right, mark.row + 1, colour)
            canvas.line([(area.right, mark.row), (area.right + 24, mark.label_row)], colour, 3)
        draw_label(canvas, area, mark, label, theme)


def draw_label(canvas: Canvas, area: Area, mark: Level, label: str, theme: Theme) -> None:
    """Name and price on the level's colour; a level beyond the scale says so with an arrow."""
    left, right, middle = area.right + 24, WIDTH - 16, mark.label_row
    half = LABEL // 2 - 3
    canvas.rounded(left, middle - half, right, middle + half, level_colour(mark, theme), 8)
    name_end = canvas.text(left + 14, middle, mark.name, 24, theme.on_level, anchor="lm", weight=0.4)
    if mark.beyond:
        tip, base = middle - 9 * mark.beyond, middle + 7 * mark.beyond
        canvas.polygon([(name_end + 10, base), (name_end + 28, base), (name_end + 19, tip)], theme.on_level)
        name_end += 30
    room = right - 14 - name_end - 12
    canvas.text(right - 14, middle, label, 27, theme.on_level, anchor="rm", room=room, weight=0.6)


def level_colour(mark: Level, theme: Theme) -> Colour:
    return {"entry": theme.entry, "stop": theme.stop, "target": theme.target}[mark.role]
