"""What a picture is about: the market, the side, the strategy, how sure it is, and who says so."""

from __future__ import annotations

from alerting.picture.canvas import Canvas, width_of
from alerting.picture.chart import Candles, Chart, Market
from alerting.picture.themes import Theme
from alerting.words.wording import change, moment, words
from tocsin_common.events import SignalRaised

NAME = "TOCSIN"

BAR = 280
"""Pixels of the bar that shows the confidence."""


def draw_head(canvas: Canvas, chart: Chart, theme: Theme, *, left: int, right: int) -> None:
    """Two lines at the left, confidence (of a market alone, how far it went) at the right, a rule below."""
    signal = chart.signal
    edge = right - BAR - 60
    side = signal.side.upper() if isinstance(signal, SignalRaised) else ""
    pill, interval = width_of(side, 28) + 74 if side else 0, width_of(signal.timeframe, 34)
    x = canvas.text(
        left, 62, signal.symbol, 54, theme.text, anchor="lm", room=edge - left - pill - interval - 70, weight=0.8
    )
    x = canvas.text(x + 28, 66, signal.timeframe, 34, theme.pale, anchor="lm") + 28
    canvas.text(left, 122, subtitle(signal), 29, theme.pale, anchor="lm", room=edge - left)
    canvas.text(right, 46, NAME, 24, theme.pale, anchor="rm", weight=0.6)
    if isinstance(signal, Market):
        draw_change(canvas, chart.candles, theme, right=right)
        return
    draw_side(canvas, side, x, pill, theme)
    draw_confidence(canvas, signal.confidence, theme, right=right)


def draw_side(canvas: Canvas, side: str, x: int, pill: int, theme: Theme) -> None:
    """`LONG` or `SHORT` with its arrow."""
    colour = theme.target if side == "LONG" else theme.stop
    canvas.rounded(x, 40, x + pill, 86, colour, 10)
    tip, base = (54, 72) if side == "LONG" else (72, 54)
    canvas.polygon([(x + 18, base), (x + 40, base), (x + 29, tip)], theme.on_level)
    canvas.text(x + 54, 64, side, 28, theme.on_level, anchor="lm", weight=0.7)


def draw_change(canvas: Canvas, candles: Candles, theme: Theme, *, right: int) -> None:
    """How far the price went over the candles shown."""
    if not len(candles.open) or not candles.open[0]:
        return
    risen = bool(candles.close[-1] >= candles.open[0])
    text = change(float(candles.open[0]), float(candles.close[-1]))
    canvas.text(right, 100, text, 44, theme.rises if risen else theme.falls, anchor="rm", room=BAR, weight=0.7)


def subtitle(signal: SignalRaised | Market) -> str:
    """For example: `EMA cross   Binance   2024-08-08 23:55 UTC`."""
    if isinstance(signal, Market):
        parts = [words(signal.exchange), when(signal.closed_ms)]
    else:
        parts = [words(signal.strategy), words(signal.exchange), when(signal.confirmed_ms)]
    return "   \N{MIDDLE DOT}   ".join(parts)


def when(ms: int) -> str:
    """The moment, or nothing beyond what a calendar holds."""
    try:
        return moment(ms)
    except (OverflowError, OSError, ValueError):
        return ""


def draw_confidence(canvas: Canvas, confidence: int, theme: Theme, *, right: int) -> None:
    """The name, a number of 100, and a bar as long as the number says."""
    left, share = right - BAR, min(max(confidence, 0), 100) / 100
    canvas.text(left, 92, "Confidence", 25, theme.pale, anchor="lm")
    canvas.text(right, 92, f"{confidence} / 100", 29, theme.text, anchor="rm", room=115, weight=0.5)
    canvas.rounded(left, 116, right, 126, theme.grid, 5)
    if share > 0:
        canvas.rounded(left, 116, left + max(round(BAR * share), 10), 126, theme.entry, 5)
