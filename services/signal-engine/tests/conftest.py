"""Real candles, as frames and as events."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.metrics import Metrics
from signal_engine.rounds import Rounds
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Received
from tocsin_common.events import CandlesClosed, ClockAdvanced
from tocsin_common.streams import Stream
from tocsin_trading.timeframes import TIMEFRAME_MS

COLUMNS = ("exchange", "symbol", "timeframe", "open_ms", "open", "high", "low", "close", "volume")

Chunk = Callable[..., CandlesClosed]
AsWindow = Callable[[pl.DataFrame], pl.DataFrame]
Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]
Market = Callable[..., pl.DataFrame]
WithHigher = Callable[..., pl.DataFrame]
Play = Callable[..., Awaitable[None]]

NO_WAITS = itertools.repeat(0)


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


@pytest.fixture(scope="session")
def market() -> Market:
    """Makes candles of closes: each opens at the close before, and its high and low are 0.1 beyond."""

    def make(
        closes: Sequence[float], volumes: Mapping[int, float] | None = None, timeframe: str = "1h"
    ) -> pl.DataFrame:
        opens = [closes[0], *closes[:-1]]
        step_ms = TIMEFRAME_MS[timeframe]
        rows = [
            (n * step_ms, start, max(start, end) + 0.1, min(start, end) - 0.1, end, (volumes or {}).get(n, 1.0))
            for n, (start, end) in enumerate(zip(opens, closes, strict=True))
        ]
        frame = pl.DataFrame(rows, schema=list(COLUMNS[3:]), orient="row")
        named = frame.with_columns(exchange=pl.lit("okx"), symbol=pl.lit("SOL/USDT"), timeframe=pl.lit(timeframe))
        return named.select(COLUMNS)

    return make


@pytest.fixture(scope="session")
def with_higher() -> WithHigher:
    """Adds the candles of higher timeframes to those of one, made of whole sets of them."""

    def add(candles: pl.DataFrame, *timeframes: str) -> pl.DataFrame:
        parts, (base,) = [candles], candles["timeframe"].unique()
        for timeframe in timeframes:
            start = pl.col("open_ms") // TIMEFRAME_MS[timeframe] * TIMEFRAME_MS[timeframe]
            columns = {"open": pl.first, "high": pl.max, "low": pl.min, "close": pl.last, "volume": pl.sum}
            longer = candles.group_by("exchange", "symbol", start, maintain_order=True).agg(
                *(made(name) for name, made in columns.items()), pl.len().alias("parts")
            )
            whole = longer.filter(pl.col("parts") == TIMEFRAME_MS[timeframe] // TIMEFRAME_MS[base])
            parts.append(whole.with_columns(timeframe=pl.lit(timeframe)).select(COLUMNS))
        return pl.concat(parts)

    return add


@pytest.fixture(scope="session")
def month(shared_data: Path, with_higher: WithHigher) -> pl.DataFrame:
    """A month of two symbols in 5m, 15m, 1h and 4h. XRP stands for bitcoin, which the record does not have."""
    path = shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet"
    rows = pl.scan_parquet(path).filter(pl.col("symbol").is_in(["ETH/USDT", "XRP/USDT"]))
    renamed = rows.rename({"ts_ms": "open_ms"}).with_columns(pl.col("symbol").str.replace("XRP", "BTC"))
    frame = renamed.collect(engine="in-memory").select(COLUMNS).sort("symbol", "open_ms")
    return with_higher(frame, "5m", "15m", "1h", "4h").filter(pl.col("timeframe") != "1m")


@pytest.fixture(scope="session")
def six_symbols(shared_data: Path) -> pl.DataFrame:
    """800 candles of 1h of six symbols, bitcoin among them."""
    rows = pl.scan_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet").rename({"ts_ms": "open_ms"})
    start = rows.select(pl.col("open_ms").min()).collect().item()
    bases = ("BTC", "ETH", "SOL", "ADA", "XRP", "DOGE")
    some = pl.col("symbol").is_in([f"{base}/USDT" for base in bases])
    soon = pl.col("open_ms") < start + 800 * TIMEFRAME_MS["1h"]
    return rows.filter(some & soon).sort("open_ms", "symbol").collect(engine="in-memory")


@pytest.fixture(scope="session")
def play() -> Play:
    """Runs an engine over boundaries of candles, each with a mark: what market-ingest, the bus and the loop would do.

    Marks are stored `stored_after_ms` after their time, and rounds see them a `wait_ms` later.
    """

    async def run(
        bus: MemoryBus,
        engine: Engine,
        boundaries: Iterable[Sequence[CandlesClosed]],
        registry: CollectorRegistry | None = None,
        *,
        stored_after_ms: int = 10**9,
        waits_ms: Iterable[int] = NO_WAITS,
        **options: float,
    ) -> None:
        now_ms = 0
        metrics = Metrics(registry or CollectorRegistry())
        rounds = Rounds(bus, engine, metrics, now_ms=lambda: now_ms, **options)
        await rounds.resume()
        for boundary, wait_ms in zip(boundaries, waits_ms, strict=False):
            receipts = await bus.publish(boundary)
            time_ms = max(event.open_ms[-1] + TIMEFRAME_MS[event.timeframe] for event in boundary)
            last = receipts[-1].seq
            mark = ClockAdvanced(
                stage="market", source="live", time_ms=time_ms, trades_seq=0, candles_seq=last, cursor=last
            )
            received = Received("CLOCK", "clock.market", last, time_ms + stored_after_ms, "", b"")
            now_ms = received.stored_ms + wait_ms
            await bus.publish(await rounds.handle([Incoming(mark, received)]))

    return run


@pytest.fixture(scope="session")
def stored() -> Callable[[MemoryBus, Stream], Awaitable[list[Any]]]:
    """Reads the events of a stream."""

    async def read(bus: MemoryBus, stream: Stream) -> list[Any]:
        messages = await bus.reader(stream, after=0).through((await bus.stream_state(stream)).last_seq)
        return [message.event() for message in messages]

    return read
