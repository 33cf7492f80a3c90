"""Drawing the picture of a signal: real candles, two lines, levels of a signal; dark and light in turn.

Measured in this process, as the painter draws them: one at a time on one core. The limit holds for processor time,
so that it says the same on a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import polars as pl

from alerting.picture.chart import SLOTS_MAX, Candles, Chart
from alerting.picture.draw import draw
from alerting.picture.themes import ThemeName
from bench.data import shared_data
from bench.markets import HOURS
from bench.report import Figure
from bench.rounds import spent
from tocsin_common.events import SignalRaised

PICTURES = 100
LIMIT_MS = 200.0
HOUR_MS = 3_600_000


async def measure() -> list[Figure]:
    """Milliseconds per picture, and their size."""
    sizes, took = [], []
    themes: tuple[ThemeName, ThemeName] = ("dark", "light")
    draw(next(charts()), "dark")  # reads the typeface
    for number, chart in enumerate(islice(charts(), PICTURES)):
        took.append(spent(lambda: sizes.append(len(draw(chart, themes[number % 2])))))  # noqa: B023  called at once
    cpu, clock = np.array([each.cpu_ms for each in took]), np.array([each.clock_ms for each in took])
    name = f"picture of a signal, {SLOTS_MAX} candles and two lines"
    return [
        Figure(f"{name}, processor time p50", float(np.median(cpu)), "ms", LIMIT_MS, at_least=False),
        Figure(f"{name}, processor time p99", float(np.quantile(cpu, 0.99)), "ms", LIMIT_MS, at_least=False),
        Figure(f"{name}, by the clock p99", float(np.quantile(clock, 0.99)), "ms"),
        Figure("its size, median", float(np.median(sizes)) / 1_000, "kB"),
    ]


def charts() -> Iterator[Chart]:
    """One of the last candles of each market in turn, with a signal at the end that is long and short in turn."""
    rows = pl.read_parquet(shared_data() / HOURS).sort("symbol", "ts_ms")
    for number, market in enumerate(rows.partition_by("symbol", maintain_order=True)):
        last = market.tail(SLOTS_MAX)
        prices = [last[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
        close = last["close"]
        lines = {f"SMA {length}": close.rolling_mean(length).cast(pl.Float64).to_numpy() for length in (9, 21)}
        candles = Candles(last["ts_ms"].to_numpy(), *prices)
        yield Chart(signal(market["symbol"][0], candles, up=bool(number % 2)), candles, lines)


def signal(symbol: str, candles: Candles, *, up: bool) -> SignalRaised:
    """A stop two mean ranges away, and three targets."""
    entry, opened_ms = float(candles.close[-1]), int(candles.open_ms[-1])
    risk = 2 * float((candles.high - candles.low).mean()) * (1 if up else -1)
    return SignalRaised(
        strategy="ema_cross",
        strategy_version="1",
        params_hash="p",
        exchange="binance",
        symbol=symbol,
        timeframe="1h",
        candle_open_ms=opened_ms,
        confirmed_ms=opened_ms + HOUR_MS,
        side="long" if up else "short",
        confidence=72,
        entry=entry,
        stop=entry - risk,
        targets=[entry + risk * multiple for multiple in (1, 2, 3)],
        expires_ms=opened_ms + 24 * HOUR_MS,
        reasons=[],
    )
