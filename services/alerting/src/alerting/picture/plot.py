"""What stands in the plot: candles, volume, lines, the zones of risk and reward, times, gaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from alerting.picture.canvas import Canvas
from alerting.picture.chart import Chart, PriceScale, nearest_targets
from alerting.picture.themes import Theme
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

AHEAD = 14
"""Slots after the signal's candle, for what is expected of it."""

SLOTS_MIN = 40
"""Few candles are drawn as wide as if there were this many."""

BODY_SHARE = 0.7

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Area:
    """Where the plot is. Prices stand between `top` and `floor`, volume between `floor` and `bottom`.

    `count` slots of equal width end at `signal_column`; those of what follows reach to `right`.
    """

    left: int
    top: int
    right: int
    floor: int
    bottom: int
    count: int

    @classmethod
    def of(cls, chart: Chart, *, left: int, top: int, right: int, bottom: int, volume_share: float) -> Area:
        slots = chart.slots()
        used = int(slots[-1]) + 1 if len(slots) else 0
        return cls(left, top, right, bottom - round((bottom - top) * volume_share), bottom, max(used, SLOTS_MIN))

    @property
    def slot_width(self) -> float:
        return (self.right - self.left) / (self.count + AHEAD)

    @property
    def signal_column(self) -> int:
        return round(self.left + self.count * self.slot_width)

    def columns(self, chart: Chart) -> NDArray[np.int64]:
        """The middle column of each candle: the last candle stands in the last slot."""
        slots = chart.slots()
        places = slots + (self.count - 1 - slots[-1]) if len(slots) else slots
        return np.asarray(np.floor(self.left + (places + 0.5) * self.slot_width).astype(np.int64))


def draw_zones(canvas: Canvas, area: Area, scale: PriceScale, signal: SignalRaised, theme: Theme) -> None:
    """Red between entry and stop, green from entry to the furthest target, where the signal is to come true."""
    entry = scale.row(signal.entry)
    rewards = [scale.row(price) for price in nearest_targets(signal)]
    furthest = max(rewards, key=lambda row: abs(row - entry), default=entry)
    for row, colour in ((furthest, theme.target), (scale.row(signal.stop), theme.stop)):
        top, bottom = max(min(entry, row), area.top), min(max(entry, row), area.floor)
        canvas.rectangle(area.signal_column, top, area.right, bottom, theme.faint(colour, 0.14))


def draw_candles(canvas: Canvas, area: Area, scale: PriceScale, chart: Chart, theme: Theme) -> None:
    """Wicks and bodies; a body is at least two pixels high."""
    candles, half = chart.candles, body_half(area)
    rows = [scale.rows(each) for each in (candles.open, candles.high, candles.low, candles.close)]
    rises = candles.close >= candles.open
    for x, opened, high, low, closed, up in zip(area.columns(chart), *rows, rises, strict=True):
        colour = theme.rises if up else theme.falls
        top, bottom = min(opened, closed), max(opened, closed)
        canvas.rectangle(int(x) - 1, int(high), int(x) + 1, int(low) + 1, colour)
        canvas.rectangle(int(x) - half, int(top), int(x) + half, max(int(bottom), int(top) + 2), colour)


def draw_volume(canvas: Canvas, area: Area, chart: Chart, theme: Theme) -> None:
    """Bars from the bottom, the highest volume as high as there is room."""
    candles, half = chart.candles, body_half(area)
    if not len(candles.volume):
        return
    most = float(candles.volume.max())
    heights = np.clip(candles.volume / (most or 1.0), 0.0, 1.0) * (area.bottom - area.floor - 20)
    rises = candles.close >= candles.open
    for x, height, up in zip(area.columns(chart), heights, rises, strict=True):
        colour = theme.faint(theme.rises if up else theme.falls, 0.5)
        canvas.rectangle(int(x) - half, area.bottom - int(height), int(x) + half, area.bottom, colour)


def body_half(area: Area) -> int:
    return max(round(area.slot_width * BODY_SHARE / 2), 2)


def draw_lines(canvas: Canvas, area: Area, scale: PriceScale, chart: Chart, theme: Theme) -> None:
    """Indicator lines, smooth, with their names above the plot."""
    columns, x = area.columns(chart), area.left + 4
    for number, (name, values) in enumerate(chart.lines.items()):
        colour = theme.lines[number % len(theme.lines)]
        if len(columns):
            share = np.clip(scale.share(values), 0.0, 1.0)
            canvas.curve(columns, area.floor - share * (area.floor - area.top), colour, 3.6)
        if x < area.right - 200:
            canvas.rectangle(x, area.top - 22, x + 26, area.top - 18, colour)
            x = canvas.text(x + 36, area.top - 20, name, 23, theme.pale, anchor="lm", room=300) + 30


def draw_times(canvas: Canvas, area: Area, chart: Chart, theme: Theme) -> None:
    """A few times below the plot, UTC, far enough apart to be read."""
    canvas.rectangle(area.left, area.bottom, area.right, area.bottom + 2, theme.grid)
    length_ms, free_from = TIMEFRAME_MS[chart.signal.timeframe], area.left
    last = chart.signal.candle_open_ms
    every_ms = time_step_ms(length_ms, area.slot_width)
    first = last - (area.count - 1) * length_ms
    for at_ms in range(-(-first // every_ms) * every_ms, last + 1, every_ms):
        x = round(area.left + ((at_ms - first) / length_ms + 0.5) * area.slot_width)
        label = time_label(at_ms, every_ms)
        if label and x - 70 >= free_from:
            canvas.rectangle(x, area.top, x + 1, area.bottom, theme.grid)
            canvas.text(x, area.bottom + 32, label, 24, theme.pale, anchor="mm")
            free_from = x + 100


def time_step_ms(length_ms: int, slot_width: float) -> int:
    """A round number of candles that takes about 250 pixels or more."""
    steps = (5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 5760, 10080, 20160, 43200)
    return next((step * 60_000 for step in steps if step * 60_000 / length_ms * slot_width >= 230), steps[-1] * 60_000)


def time_label(at_ms: int, every_ms: int) -> str:
    """`14:30`, and `8 Aug` where a day begins. Nothing beyond what a calendar holds."""
    try:
        when = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return ""
    day = f"{when.day} {when:%b}"
    return day if every_ms >= DAY_MS or not at_ms % DAY_MS else f"{when:%H:%M}"


def draw_gaps(canvas: Canvas, area: Area, chart: Chart, theme: Theme) -> None:
    """Where candles are missing between others: a shade, and the words where they fit."""
    columns, slots = area.columns(chart), chart.slots()
    for place in np.flatnonzero(np.diff(slots) > 1):
        left = round(columns[place] + area.slot_width / 2)
        right = round(columns[place + 1] - area.slot_width / 2)
        canvas.rectangle(left, area.top, right, area.bottom, theme.faint(theme.pale, 0.06))
        if right - left > 90:
            middle = (left + right) // 2
            canvas.text(middle, area.floor - 24, "no data", 22, theme.pale, anchor="mm")
