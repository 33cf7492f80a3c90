"""What a picture is about: the market, the side, the strategy, how sure it is, and who says so."""

from __future__ import annotations

from alerting.picture.canvas import Canvas, width_of
from alerting.picture.chart import Chart
from alerting.picture.themes import Theme
from alerting.wording import moment, words
from tocsin_common.events import SignalRaised

NAME = "TOCSIN"

BAR = 280
"""Pixels of the bar that shows the confidence."""


def draw_head(canvas: Canvas, chart: Chart, theme: Theme, *, left: int, right: int) -> None:
    """Two lines at the left, confidence at the right, a rule below."""
    signal = chart.signal
    edge = right - BAR - 60
    side = signal.side.upper()
    colour = theme.target if signal.side == "long" else theme.stop
    pill, interval = width_of(side, 28) + 74, width_of(signal.timeframe, 34)
    x = canvas.text(
        left, 62, signal.symbol, 54, theme.text, anchor="lm", room=edge - left - pill - interval - 70, weight=0.8
    )
    x = canvas.text(x + 28, 66, signal.timeframe, 34, theme.pale, anchor="lm") + 28
    canvas.rounded(x, 40, x + pill, 86, colour, 10)
    tip, base = (54, 72) if signal.side == "long" else (72, 54)
    canvas.polygon([(x + 18, base), (x + 40, base), (x + 29, tip)], theme.on_level)
    canvas.text(x + 54, 64, side, 28, theme.on_level, anchor="lm", weight=0.7)
    canvas.text(left, 122, subtitle(signal), 29, theme.pale, anchor="lm", room=edge - left)
    draw_confidence(canvas, signal.confidence, theme, right=right)


def subtitle(signal: SignalRaised) -> str:
    """For example: `EMA cross   Binance   2024-08-08 23:55 UTC`."""
    return "   \N{MIDDLE DOT}   ".join((words(signal.strategy), words(signal.exchange), when(signal.confirmed_ms)))


def when(ms: int) -> str:
    """The moment, or nothing beyond what a calendar holds."""
    try:
        return moment(ms)
    except (OverflowError, OSError, ValueError):
        return ""


def draw_confidence(canvas: Canvas, confidence: int, theme: Theme, *, right: int) -> None:
    """The name, a number of 100, and a bar as long as the number says."""
    left, share = right - BAR, min(max(confidence, 0), 100) / 100
    canvas.text(right, 46, NAME, 24, theme.pale, anchor="rm", weight=0.6)
    canvas.text(left, 92, "Confidence", 25, theme.pale, anchor="lm")
    canvas.text(right, 92, f"{confidence} / 100", 29, theme.text, anchor="rm", room=115, weight=0.5)
    canvas.rounded(left, 116, right, 126, theme.grid, 5)
    if share > 0:
        canvas.rounded(left, 116, left + max(round(BAR * share), 10), 126, theme.entry, 5)
