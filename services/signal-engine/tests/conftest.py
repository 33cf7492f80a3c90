"""Real candles, as frames and as events."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAME_MS

COLUMNS = ("exchange", "symbol", "timeframe", "open_ms", "open", "high", "low", "close", "volume")

Chunk = Callable[..., CandlesClosed]
AsWindow = Callable[[pl.DataFrame], pl.DataFrame]
Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]


@pytest.fixture(scope="session")
def minutes(shared_data: Path) -> pl.DataFrame:
    """5,000 candles of 1m of three symbols, across the crash of 2021-05-19."""
    path = shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet"
    rows = pl.scan_parquet(path).filter(pl.col("symbol").is_in(["ADA/USDT", "ETH/USDT", "MATIC/USDT"]))
    frame = rows.collect(engine="in-memory").rename({"ts_ms": "open_ms"}).select(COLUMNS).sort("symbol", "open_ms")
    return (
        frame.group_by("symbol", maintain_order=True)
        .agg(pl.all().slice(3_000, 5_000))
        .explode(pl.exclude("symbol"))
        .select(COLUMNS)
    )


@pytest.fixture(scope="session")
def four_hours(shared_data: Path) -> pl.DataFrame:
    """Ten years of BTC and ETH candles of 4h."""
    frame = pl.read_parquet(shared_data / "candles" / "coinbase_4h_btc_eth_2016-2025.parquet")
    return frame.rename({"ts_ms": "open_ms"}).select(COLUMNS).sort("symbol", "open_ms")


@pytest.fixture(scope="session")
def one_window() -> AsWindow:
    """Makes one window of the candles of one series, with the columns indicators read."""

    def place(candles: pl.DataFrame) -> pl.DataFrame:
        preceding = pl.int_range(pl.len(), dtype=pl.UInt32)
        return candles.with_columns(window=pl.lit(0, pl.UInt32), preceding=preceding)

    return place


@pytest.fixture(scope="session")
def candles_event() -> Chunk:
    """Makes one message of the rows of one series."""

    def make(rows: pl.DataFrame, **changes: object) -> CandlesClosed:
        names = {name: rows[name][0] for name in ("exchange", "symbol", "timeframe")}
        columns = {name: rows[name].to_list() for name in COLUMNS[3:]}
        return CandlesClosed(**{**names, **columns, "origin": "exchange", **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def chop(candles_event: Chunk) -> Chop:
    """Cuts candles into messages of random length, in the order a market would have given them."""

    def cut(candles: pl.DataFrame, rng: random.Random) -> Iterator[CandlesClosed]:
        messages = []
        for (_, _, timeframe), rows in candles.group_by("exchange", "symbol", "timeframe", maintain_order=True):
            start = 0
            while start < len(rows):
                part = rows.slice(start, rng.choice((1, 2, 7, 60, 400)))
                start += len(part)
                messages.append((part["open_ms"][-1] + TIMEFRAME_MS[str(timeframe)], candles_event(part)))
        yield from (message for _, message in sorted(messages, key=lambda item: item[0]))

    return cut
