"""A crash at any message: after the restart the streams hold what an uninterrupted run gives, and nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from market_ingest import pipeline
from market_ingest.config import IngestSection, ReplaySettings, SimulatorSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources import replay
from market_ingest.sources.chunk import Source
from market_ingest.sources.replay import ReplaySource
from market_ingest.sources.simulator import SimulatorSource
from market_ingest.sources.timeline import Timeline, load
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.events import CandlesClosed, ClockAdvanced, Event, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, TRADES

SETTINGS = IngestSection(max_lag_marks=0)


class PowerCut(Exception):
    """The process is gone."""


class FailingBus:
    """A bus whose process dies after a number of new messages, in the middle of a publish."""

    def __init__(self, bus: MemoryBus, messages: int) -> None:
        self._bus = bus
        self._left = messages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        receipts: list[Stored] = []
        for event in events:
            if self._left == 0:
                raise PowerCut
            (receipt,) = await self._bus.publish([event])
            self._left -= not receipt.duplicate
            receipts.append(receipt)
        return receipts


async def run(source: Source, bus: Any, stop: asyncio.Event | None = None) -> None:
    await pipeline.run(source, bus, SETTINGS, stop or asyncio.Event(), IngestMetrics(CollectorRegistry()))


async def contents(bus: Bus) -> tuple[dict[tuple[str, str], list[Any]], dict[tuple[str, str, str, int], Any]]:
    """Trades by market in stream order, and candles by market, timeframe and open time, none of them twice."""
    trades: dict[tuple[str, str], list[Any]] = defaultdict(list)
    candles: dict[tuple[str, str, str, int], Any] = {}
    reader = bus.reader(TRADES, after=0)
    for message in await reader.through((await bus.stream_state(TRADES)).last_seq):
        event = message.event()
        assert isinstance(event, TradesReceived)
        rows = zip(event.ts_ms, event.price, event.amount, event.side, event.trade_id, strict=True)
        trades[event.exchange, event.symbol] += rows
    reader = bus.reader(CANDLES, after=0)
    for message in await reader.through((await bus.stream_state(CANDLES)).last_seq):
        event = message.event()
        assert isinstance(event, CandlesClosed)
        columns = (event.open, event.high, event.low, event.close, event.volume, event.trades or event.open)
        for open_ms, *row in zip(event.open_ms, *columns, strict=True):
            key = (event.exchange, event.symbol, event.timeframe, open_ms)
            assert key not in candles, f"{key} is there twice"
            candles[key] = (event.origin, *row)
    return trades, candles


async def newest_mark(bus: Bus) -> ClockAdvanced:
    message = await bus.last(CLOCK, "clock.market")
    assert message is not None
    event = message.event()
    assert isinstance(event, ClockAdvanced)
    return event


def mixed_timeline(data: Path, folder: Path) -> Timeline:
    """Sparse and dense trades, and candles of several timeframes, some of them of a market that also has trades."""
    candles = pl.read_parquet(data / "candles" / "mixed_5m_12_symbols_2018-2019.parquet")
    given = pl.concat([candles.filter(pl.col("symbol") == symbol).head(600) for symbol in ("ADA/BTC", "XRP/ETH")])
    given.with_columns(exchange=pl.lit("binance")).write_parquet(folder / "candles.parquet")
    hours = candles.filter(pl.col("symbol") == "ADA/BTC", pl.col("ts_ms") % 3_600_000 == 0).head(60)
    hours.with_columns(exchange=pl.lit("binance"), timeframe=pl.lit("1h")).write_parquet(folder / "hours.parquet")
    sparse = pl.read_parquet(data / "trades" / "kraken_bitstamp_sparse.parquet")
    sparse.filter(pl.col("exchange") == "kraken").write_parquet(folder / "sparse.parquet")
    dense = pl.read_parquet(data / "trades" / "binance_btc_eth_2024-08-08.parquet").gather_every(9)
    dense.write_parquet(folder / "dense.parquet")
    files = [folder / name for name in ("candles.parquet", "hours.parquet", "sparse.parquet", "dense.parquet")]
    return load([*files, data / "trades" / "binance_xrp_eth_2019-10.parquet"], 1_800_000_000_000)


async def test_a_replay_cut_off_anywhere_goes_on_exactly(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = mixed_timeline(shared_data, tmp_path)
    settings = ReplaySettings(kind="replay", files=[tmp_path])

    def source() -> ReplaySource:
        return ReplaySource(settings, timeline=timeline)

    whole = MemoryBus()
    await run(source(), whole)
    expected, totals = await contents(whole), (await newest_mark(whole)).totals
    for seed in range(4):
        chance = random.Random(seed)
        bus = MemoryBus()
        while not (await bus.stream_state(CLOCK)).messages or not (await newest_mark(bus)).ended:
            monkeypatch.setattr(replay, "CHUNK_ROWS", chance.choice([500, 3_000, 20_000]))
            try:
                await run(source(), FailingBus(bus, chance.randrange(1, 900)))
            except PowerCut:
                continue
        assert await contents(bus) == expected, f"seed {seed}"
        assert (await newest_mark(bus)).totals == totals, f"seed {seed}"


async def test_a_simulation_cut_off_anywhere_goes_on_exactly() -> None:
    settings = SimulatorSettings(
        seed=3, symbols=["BTC/USDT", "RARE/USDT"], speed=0, trades_per_minute=2, history_candles=50
    )
    market_ms = 6 * 3_600_000

    async def until_enough(bus: MemoryBus, messages: int) -> bool:
        """Simulate until six hours are over (True) or the power is cut."""
        source, stop = Until(settings, market_ms), asyncio.Event()
        source.stop = stop
        try:
            await run(source, FailingBus(bus, messages), stop)
        except PowerCut:
            return False
        return True

    whole = MemoryBus()
    assert await until_enough(whole, -1)
    expected, totals = await contents(whole), (await newest_mark(whole)).totals
    assert totals["trades_published"] > 500
    for seed in range(4):
        chance, bus = random.Random(seed), MemoryBus()
        while not await until_enough(bus, chance.randrange(1, 1_500)):
            continue
        assert await contents(bus) == expected, f"seed {seed}"
        assert (await newest_mark(bus)).totals == totals, f"seed {seed}"


class Until(SimulatorSource):
    """A simulation that asks to stop at a market time."""

    stop: asyncio.Event

    def __init__(self, settings: SimulatorSettings, market_ms: int) -> None:
        super().__init__(settings)
        self._until_cursor = market_ms

    async def chunks(self, cursor: int) -> Any:
        async for chunk in super().chunks(cursor):
            if chunk.cursor >= self._until_cursor:
                self.stop.set()
            yield chunk


async def test_trades_of_an_open_candle_are_read_back_from_the_stream(memory_bus: MemoryBus, tmp_path: Path) -> None:
    rows = [(60_000 * minute + 10 * n, 100.0 + n, 0.1) for minute in range(3) for n in range(5)]
    frame = pl.DataFrame(
        {
            "exchange": ["binance"] * 15,
            "symbol": ["BTC/USDT"] * 15,
            "ts_ms": [1_700_000_040_000 + row[0] for row in rows],
            "price": [row[1] for row in rows],
            "amount": [row[2] for row in rows],
        }
    )
    frame.write_parquet(tmp_path / "trades.parquet")
    timeline = load([tmp_path / "trades.parquet"], 1_800_000_000_000)
    settings = ReplaySettings(kind="replay", files=[tmp_path])
    with pytest.raises(PowerCut):
        await run(ReplaySource(settings, timeline=timeline), FailingBus(memory_bus, 1))
    _, candles = await contents(memory_bus)
    assert not candles
    await run(ReplaySource(settings, timeline=timeline), memory_bus)
    trades, candles = await contents(memory_bus)
    assert len(trades["binance", "BTC/USDT"]) == 15
    assert candles["binance", "BTC/USDT", "1m", 1_700_000_040_000] == ("trades", 100.0, 104.0, 100.0, 104.0, 0.5, 5)


async def test_a_source_goes_on_after_another_one_was_in_between(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "CHUNK_ROWS", 100)
    sparse = pl.read_parquet(shared_data / "trades" / "kraken_bitstamp_sparse.parquet")
    for name in ("kraken", "bitstamp"):
        sparse.filter(pl.col("exchange") == name).head(600).write_parquet(tmp_path / f"{name}.parquet")

    def source(name: str) -> ReplaySource:
        return ReplaySource(ReplaySettings(kind="replay", files=[tmp_path / f"{name}.parquet"]))

    expected = MemoryBus()
    await run(source("kraken"), expected)
    await run(source("bitstamp"), expected)
    bus = MemoryBus()
    with pytest.raises(PowerCut):
        await run(source("kraken"), FailingBus(bus, 60))
    with pytest.raises(PowerCut):
        await run(source("bitstamp"), FailingBus(bus, 90))
    await run(source("bitstamp"), bus)
    await run(source("kraken"), bus)
    assert await contents(bus) == await contents(expected)
