"""Write docs/signals.md: what the shipped strategies say about real months.

    python docs/signals.py

The candles lie outside of the repository, in the folder `data` of TOCSIN_SHARED (default: ../shared). A test judges a
part of them again and compares, so that the page cannot go stale.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from signal_engine.history import signals_of
from signal_engine.market import REFERENCE
from signal_engine.strategies import STRATEGIES, AnyStrategy, build
from signal_engine.window import PRICES
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

PAGE = Path(__file__).with_suffix(".md")
DATA = Path(os.environ.get("TOCSIN_SHARED", PAGE.parent.parent.parent / "shared")) / "data" / "candles"

MADE = {"open": pl.first, "high": pl.max, "low": pl.min, "close": pl.last, "volume": pl.sum}
"""How the prices of a longer candle are made of those of shorter ones."""


@dataclass(frozen=True)
class Record:
    """Candles of a file, and the timeframes judged."""

    title: str
    text: str
    file: str
    timeframes: tuple[str, ...]

    def candles(self) -> pl.DataFrame:
        """Columns as `signals_of` wants them; longer candles are made of the file's."""
        base = pl.read_parquet(DATA / f"{self.file}.parquet").rename({"ts_ms": "open_ms"})
        (length,) = base["timeframe"].unique()
        longer = [longer_candles(base, TIMEFRAME_MS[length], one) for one in self.timeframes if one != length]
        return pl.concat([base, *longer], how="diagonal").filter(pl.col("timeframe").is_in(self.timeframes))


RECORDS = (
    Record(
        "A month of 23 markets",
        "23 pairs of Binance, every minute from 2021-05-15 to 2021-06-15, two crashes among them. 186 candles of 4h are"
        " too few to get warm. Bitcoin is not in it, so `btc_divergence` has nothing to compare with.",
        "binance_1m_23_symbols_2021-05",
        ("5m", "15m", "1h", "4h"),
    ),
    Record(
        "Eight months of 136 markets",
        "136 pairs of Binance, every hour from 2024-01-01 to 2024-09-07. `confluence` judges 15m, which is not in it.",
        "binance_1h_136_symbols_2024",
        ("1h", "4h"),
    ),
)

INTRODUCTION = """\
# What the strategies say about real months

<!-- Written by docs/signals.py from the strategies themselves: change those, not this page. -->

How often does a strategy speak? One that is silent for months is of no use, and neither is one that speaks at every
candle. Here are all shipped ones with their default parameters, on real candles; `tocsin signals --from FILE` says the
same of any other file. How to read the code, and how to write your own: [strategies](strategies.md).

Of a market's first candles none is judged: the indicators are not warm. *Candles* are those that were judged. These are
counts, not results: what became of signals is measured from their outcomes, and nothing here is advice.
"""

PICTURES = """\
## Three of them, drawn

Drawn by `docs/signals_pictures.py` from the same candles. What was known when the signal was given is left of the
dotted line; what came of it is right of it.

**`smart_money`.** Structure broke upwards; the last falling candle before that break is the order block, and the break
left a gap above it. The price closed inside the gap, and now above it again. The stop lies beyond the block.

![Candles of ETH/USDT with an order block, a fair value gap above it, and a long signal that reached its
targets](pictures/smart_money.png)

**`supertrend`.** The line turned upwards on volume, above the trend's average, with a confidence of 100: this one went
wrong all the same. The stop is where the line was; the price went through it half a day later.

![Candles of BTC/USDT with a SuperTrend that turns upwards, and a long signal that was
stopped](pictures/supertrend.png)

**`confluence`.** 91 of 100 points are for a short: every vote but that of volume, which abstains. The confidence is 73,
because 80 points are needed anyway.

![Candles of ADA/USDT with three averages, a short signal, and the votes as bars](pictures/confluence.png)
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    for record in RECORDS:
        candles = record.candles()
        lines = [line for timeframe in record.timeframes for line in table(candles, timeframe)]
        parts += [f"## {record.title}", "", record.text, "", *HEAD, *lines, ""]
    return "\n".join([*parts, PICTURES])


HEAD = (
    "| timeframe | strategy | signals | of candles | share | long | short | markets |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def table(candles: pl.DataFrame, timeframe: str) -> Iterator[str]:
    """A line for every strategy that judges this timeframe and had warm candles of it."""
    strategies = [build(name) for name in STRATEGIES]
    found: Mapping[str, list[SignalRaised]] = {name: [] for name in STRATEGIES}
    for signal in signals_of(strategies, candles, timeframes=[timeframe]):
        found[signal.strategy].append(signal)
    for strategy in strategies:
        judged = judged_candles(candles, strategy, timeframe)
        if judged:
            yield line(timeframe, strategy.name, found[strategy.name], judged)


def line(timeframe: str, name: str, signals: Sequence[SignalRaised], judged: int) -> str:
    long = sum(signal.side == "long" for signal in signals)
    markets = len({signal.symbol for signal in signals})
    counts = (f"{count:,}" for count in (long, len(signals) - long, markets))
    share = f"{100 * len(signals) / judged:.2f} %"
    return f"| {timeframe} | `{name}` | {len(signals):,} | {judged:,} | {share} | {' | '.join(counts)} |"


def judged_candles(candles: pl.DataFrame, strategy: AnyStrategy, timeframe: str) -> int:
    """Candles with a whole warm-up before them, in the timeframe and in the higher ones looked at; none where there is
    no reference to be compared with."""
    if strategy.timeframes and timeframe not in strategy.timeframes:
        return 0
    asked = {name for expr in strategy.market() for name in expr.meta.root_names()}
    if asked & {*PRICES} and not candles["symbol"].str.starts_with(f"{REFERENCE}/").any():
        return 0
    warm_ms = {timeframe: strategy.warm_up_candles * TIMEFRAME_MS[timeframe]}
    for higher, columns in strategy.higher().items():
        warm_ms[higher] = (max(strategy.memory(expr) for expr in columns) + 1) * TIMEFRAME_MS[higher]
    rows = candles.filter(pl.col("timeframe") == timeframe)
    since = pl.col("open_ms").min().over("exchange", "symbol") + max(warm_ms.values())
    return rows.filter(pl.col("open_ms") >= since).height


def longer_candles(base: pl.DataFrame, length_ms: int, timeframe: str) -> pl.DataFrame:
    """Whole candles of a longer timeframe, made of those of a shorter one."""
    start = pl.col("open_ms") // TIMEFRAME_MS[timeframe] * TIMEFRAME_MS[timeframe]
    ordered = base.sort("exchange", "symbol", "open_ms")
    made = ordered.group_by("exchange", "symbol", start, maintain_order=True).agg(
        *(make(name) for name, make in MADE.items()), pl.len().alias("parts")
    )
    whole = made.filter(pl.col("parts") == TIMEFRAME_MS[timeframe] // length_ms)
    return whole.drop("parts").with_columns(timeframe=pl.lit(timeframe))


def main() -> int:
    PAGE.write_text(page())
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
