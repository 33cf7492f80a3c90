"""Draw docs/pictures: real signals, the candles around them, and what decided.

    python docs/signals_pictures.py

Each picture is of one signal, named by its candle; where the strategy does not give it any more, this fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from signals import RECORDS, Record

from signal_engine.history import signals_of
from signal_engine.strategies import build
from signal_engine.strategies.votes import VOTES
from tocsin_common.events import SignalRaised

PICTURES = Path(__file__).parent / "pictures"

INK, PALE, GRID = "#3b4252", "#7b8494", "#e8eaee"
RISES, FALLS = "#5b9a8b", "#c27c74"
ENTRY, STOP, TARGET = "#3b4252", "#b5483f", "#2f7d6b"
LINES = ("#4f7cac", "#c9963f", "#8a6fae")

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": PALE,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}

MONTH, EIGHT_MONTHS = RECORDS


@dataclass(frozen=True)
class Example:
    """One signal: where it is found, how many candles are shown before and after it, and what is drawn over them."""

    strategy: str
    record: Record
    symbol: str
    timeframe: str
    opened: datetime
    before: int
    after: int
    draw: Callable[[Axes, Shown], None]

    @property
    def open_ms(self) -> int:
        return int(self.opened.timestamp() * 1_000)


@dataclass(frozen=True)
class Shown:
    """A signal and the candles around it with the strategy's columns; `at` is the row of the signal's candle."""

    signal: SignalRaised
    rows: pl.DataFrame
    at: int

    @property
    def last(self) -> int:
        return len(self.rows) - 1


def found(example: Example) -> Shown:
    """The example out of its record. Raises ValueError when the strategy does not give it."""
    candles = example.record.candles().filter(pl.col("symbol") == example.symbol)
    strategy = build(example.strategy)
    for signal in signals_of([strategy], candles, timeframes=[example.timeframe]):
        if signal.candle_open_ms == example.open_ms:
            break
    else:
        raise ValueError(f"{example.strategy} gives no signal on {example.symbol} at {example.opened}")
    series = candles.filter(pl.col("timeframe") == example.timeframe).sort("open_ms")
    preceding = pl.int_range(pl.len(), dtype=pl.UInt32)
    window = series.with_columns(window=pl.lit(0, pl.UInt32), preceding=preceding)
    rows = window.with_columns(strategy.columns())
    at = rows["open_ms"].to_list().index(example.open_ms)
    return Shown(signal, rows[at - example.before : at + example.after + 1], example.before)


def candles(axes: Axes, volume: Axes, rows: pl.DataFrame) -> None:
    """Candles with their wicks, and the volume below."""
    for rising, colour in ((True, RISES), (False, FALLS)):
        some = rows.with_row_index().filter((pl.col("close") >= pl.col("open")) == rising)
        at = some["index"].to_numpy()
        axes.vlines(at, some["low"], some["high"], color=colour, linewidth=0.8, zorder=2)
        bottom, top = some.select(pl.min_horizontal("open", "close"), pl.max_horizontal("close", "open")).get_columns()
        axes.bar(at, (top - bottom).to_numpy(), 0.68, bottom.to_numpy(), color=colour, linewidth=0, zorder=3)
        volume.bar(at, some["volume"].to_numpy(), 0.68, color=colour, alpha=0.6, linewidth=0)


def levels(axes: Axes, shown: Shown) -> None:
    """Entry, stop and targets from the signal on, named at the right."""
    signal = shown.signal
    named = [("stop", signal.stop, STOP), ("entry", signal.entry, ENTRY)]
    named += [(f"target {n}", price, TARGET) for n, price in enumerate(signal.targets, 1)]
    for name, price, colour in named:
        axes.hlines(price, shown.at, shown.last + 1, color=colour, linewidth=1.1, zorder=4)
        axes.annotate(
            f"{name}  {price:,.6g}",
            (1.008, price),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
            annotation_clip=False,
        )
    axes.axvline(shown.at + 0.5, color=PALE, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    up = signal.side == "long"
    edge = shown.rows["high" if up else "low"][shown.at]
    axes.annotate(
        signal.side,
        (shown.at, edge),
        (-44, 30 if up else -30),
        textcoords="offset points",
        ha="center",
        va="center",
        weight="bold",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": GRID},
        color=ENTRY,
        arrowprops={"arrowstyle": "-|>", "color": ENTRY, "linewidth": 1.2},
        zorder=6,
    )


def lines(columns: Mapping[str, str]) -> Callable[[Axes, Shown], None]:
    """Draws columns, named as in the legend."""

    def draw(axes: Axes, shown: Shown) -> None:
        for (column, name), colour in zip(columns.items(), LINES, strict=False):
            axes.plot(shown.rows[column].to_numpy(), color=colour, linewidth=1.3, label=name, zorder=5)

    return draw


def supertrend(axes: Axes, shown: Shown) -> None:
    """The line in one colour below the price and in another above it, broken where it turns."""
    line, close = pl.col("supertrend_10_3"), pl.col("close")
    for name, side, colour in (("rising", line < close, RISES), ("falling", line > close, FALLS)):
        part = shown.rows.select(pl.when(side).then(line)).to_series().to_numpy()
        axes.plot(part, color=colour, linewidth=1.8, label=f"SuperTrend 10/3, {name}", zorder=5)
    lines({"sma_100": "SMA 100"})(axes, shown)


def zones(axes: Axes, shown: Shown) -> None:
    """The order block and the gap a smart money signal is of, from where they were made to the signal."""
    figures = shown.signal.features
    begin = shown.at - figures["block_age"]
    for name, low, high, colour in (
        ("order block", figures["block_low"], figures["block_high"], LINES[0]),
        ("fair value gap", figures["gap_low"], figures["gap_high"], LINES[1]),
    ):
        size = (shown.at + 0.5 - begin, high - low)
        axes.add_patch(Rectangle((begin, low), *size, color=colour, alpha=0.25, linewidth=0, label=name, zorder=1))


def votes(axes: Axes, shown: Shown) -> None:
    """Who voted how, as bars of their points."""
    names = [f"{vote.timeframe} {vote.topic}" for vote in VOTES]
    cast = [vote.points * shown.signal.features[vote.column] for vote in VOTES]
    colours = [TARGET if points > 0 else STOP for points in cast]
    places = range(len(VOTES))
    axes.barh(places, cast, 0.6, color=colours, alpha=0.75)
    axes.set_yticks(places, names, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(-24, 24)
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.set_title("votes: points for and against", loc="left", fontsize=9, color=PALE)
    for place, points in zip(places, cast, strict=True):
        if points == 0:
            axes.text(1, place, "abstains", va="center", color=PALE, fontsize=8)


EXAMPLES = (
    Example("smart_money", EIGHT_MONTHS, "ETH/USDT", "1h", datetime(2024, 6, 30, 13, tzinfo=UTC), 60, 30, zones),
    Example(
        "supertrend",
        EIGHT_MONTHS,
        "BTC/USDT",
        "1h",
        datetime(2024, 7, 29, 2, tzinfo=UTC),
        70,
        24,
        supertrend,
    ),
    Example(
        "confluence",
        MONTH,
        "ADA/USDT",
        "15m",
        datetime(2021, 6, 11, 20, 45, tzinfo=UTC),
        70,
        40,
        lines({"ema_12": "EMA 12", "ema_26": "EMA 26", "sma_100": "SMA 100"}),
    ),
)


def dated(axes: Axes, shown: Shown) -> None:
    """Five times below the candles, in UTC."""
    opens_ms: Sequence[int] = shown.rows["open_ms"].to_list()
    places = [round(n * shown.last / 4) for n in range(5)]
    texts = [f"{datetime.fromtimestamp(opens_ms[at] / 1_000, UTC):%b %d, %H:%M}" for at in places]
    axes.set_xticks(places, texts)
    axes.set_xlim(-1, shown.last + 1)


def picture(example: Example) -> None:
    """One file."""
    shown = found(example)
    wide = example.strategy == "confluence"
    figure = plt.figure(figsize=(13 if wide else 10, 5.4), dpi=100)
    columns: dict[str, Any] = {"ncols": 2, "width_ratios": (3.8, 1), "wspace": 0.72} if wide else {"ncols": 1}
    grid = figure.add_gridspec(2, height_ratios=(5, 1), hspace=0.06, **columns)
    top = figure.add_subplot(grid[0, 0])
    volume = figure.add_subplot(grid[1, 0], sharex=top)
    candles(top, volume, shown.rows)
    example.draw(top, shown)
    levels(top, shown)
    dated(volume, shown)
    top.tick_params(labelbottom=False)
    top.margins(y=0.1)
    top.yaxis.set_major_formatter("{x:,.6g}")
    volume.set_yticks([])
    volume.set_ylabel("volume")
    top.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor=GRID, ncols=3)
    signal = shown.signal
    confirmed = datetime.fromtimestamp(signal.confirmed_ms / 1_000, UTC)
    title = f"{signal.strategy}: {signal.side} {signal.symbol}, {signal.timeframe}, {confirmed:%Y-%m-%d %H:%M} UTC"
    top.set_title(f"{title}, confidence {signal.confidence}", loc="left", fontsize=11, color=INK)
    if wide:
        votes(figure.add_subplot(grid[:, 1]), shown)
    path = PICTURES / f"{example.strategy}.png"
    figure.savefig(path, bbox_inches="tight", pad_inches=0.15, pil_kwargs={"optimize": True})
    plt.close(figure)
    print(f"written: {path} ({path.stat().st_size / 1024:.0f} kB)")


def main() -> int:
    mpl.use("agg")
    PICTURES.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for example in EXAMPLES:
            picture(example)
    return 0


if __name__ == "__main__":
    sys.exit(main())
