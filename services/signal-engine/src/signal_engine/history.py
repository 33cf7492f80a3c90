"""All of history in one query per timeframe: the oracle of the live engine, and what a backtest runs on."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from signal_engine.evaluation import Evaluation, order
from signal_engine.strategies import AnyStrategy
from signal_engine.windows import BLOCK_CANDLES, PRICES, WARM_UP_CANDLES, Series
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

KEYS = ("exchange", "symbol", "timeframe")


def signals_of(strategies: Sequence[AnyStrategy], candles: pl.DataFrame) -> list[SignalRaised]:
    """Signals of a frame of closed candles, equal to the live engine's over the same candles in time order.

    `candles` has the columns exchange, symbol, timeframe (text), open_ms (i64) and open, high, low, close, volume
    (f64); of rows with the same open time the first counts.
    """
    evaluation = Evaluation(strategies)
    found: list[SignalRaised] = []
    for timeframe in sorted(candles["timeframe"].unique()):
        rows = candles.filter(pl.col("timeframe") == timeframe)
        found += evaluation.signals(_anchored(rows, TIMEFRAME_MS[timeframe]), _series(rows))
    return sorted(found, key=order)


def _series(candles: pl.DataFrame) -> list[Series]:
    return [Series(*names) for names in candles.select(KEYS).unique().sort(KEYS).iter_rows()]


def _anchored(candles: pl.DataFrame, length_ms: int) -> pl.DataFrame:
    """The frame `Windows.frame` describes, with every candle new: each appears in its own block's window, and as
    warm-up in the windows of the following blocks that reach back to it."""
    block_ms, reach_ms = BLOCK_CANDLES * length_ms, WARM_UP_CANDLES * length_ms
    block = pl.col("open_ms") // block_ms
    placed = (
        candles.unique([*KEYS, "open_ms"], keep="first", maintain_order=True)
        .sort(*KEYS, "open_ms")
        .select(
            pl.struct(KEYS).rle_id().alias("series"),
            "open_ms",
            *(pl.col(name).cast(pl.Float64) for name in PRICES),
            pl.int_ranges(block, (pl.col("open_ms") + reach_ms) // block_ms + 1).alias("block"),
        )
        .explode("block")
        .with_columns(new=block == pl.col("block"))
        .sort("series", "block", "open_ms")
        .with_columns(pl.struct("series", "block").rle_id().alias("window"))
    )
    needed = placed.filter(pl.col("new").any().over("window"))
    return needed.with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).over("window").alias("preceding"),
        pl.col("close").shift(1).over("window").fill_null(pl.col("open")).alias("before"),
    )
