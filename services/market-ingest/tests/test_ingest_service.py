"""The service as a process, on a real server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from prometheus_client import CollectorRegistry

from market_ingest import pipeline
from market_ingest.config import IngestSection, ReplaySettings, SimulatorSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.replay import ReplaySource
from market_ingest.sources.simulator import SimulatorSource
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Consumer
from tocsin_common.events import CandlesClosed, ClockAdvanced, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, TRADES

PATIENCE_S = 60.0


async def start(nats_url: str, files: list[Path], max_lag_marks: int = 0, stderr: int | None = None) -> Process:
    """`stderr` PIPE only for a test that reads it: a process whose pipe nobody empties is never seen to end."""
    source = {"kind": "replay", "files": [str(file) for file in files]}
    environ = {
        **os.environ,
        "TOCSIN__NATS__URL": nats_url,
        "TOCSIN__MARKET_INGEST__SOURCE": json.dumps(source),
        "TOCSIN__MARKET_INGEST__MAX_LAG_MARKS": str(max_lag_marks),
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "market_ingest", env=environ, stderr=stderr)


async def take_mark(consumer: Consumer, wanted: Callable[[ClockAdvanced], bool]) -> ClockAdvanced:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for message in await consumer.fetch(1, 1.0):
                event = message.event()
                if isinstance(event, ClockAdvanced) and wanted(event):
                    return event


async def contents(bus: Bus) -> tuple[Counter[Any], dict[Any, Any]]:
    """How often every trade is there, and every candle."""
    trades: Counter[Any] = Counter()
    candles: dict[Any, Any] = {}
    for stream in (TRADES, CANDLES):
        reader = bus.reader(stream, after=0)
        for message in await reader.through((await bus.stream_state(stream)).last_seq):
            event = message.event()
            if isinstance(event, TradesReceived):
                market = (event.exchange, event.symbol)
                columns = (event.ts_ms, event.price, event.amount, event.trade_id)
                trades.update((market, *row) for row in zip(*columns, strict=True))
            elif isinstance(event, CandlesClosed):
                for at, open_ms in enumerate(event.open_ms):
                    key = (event.exchange, event.symbol, event.timeframe, open_ms)
                    assert key not in candles
                    candles[key] = (event.open[at], event.close[at], event.volume[at])
        await reader.close()
    return trades, candles


async def test_an_unreadable_file_is_one_line_and_exit_code_2(
    nats_url: str, jetstream_bus: Bus, tmp_path: Path
) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("exchange,symbol,ts_ms,price,amount\nbinance,BTC/USDT,1700000000000,abc,1\n")
    process = await start(nats_url, [path], stderr=PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 2
    (line,) = (json.loads(line) for line in errors.splitlines() if b'"error"' in line)
    assert line["error"] == f"{path}: row 1, column 'price': 'abc' was found, a number was expected."
    for stream in (TRADES, CANDLES, CLOCK):
        assert (await jetstream_bus.stream_state(stream)).messages == 0


async def test_killed_in_the_middle_it_loses_and_repeats_nothing(
    nats_url: str, jetstream_bus: Bus, shared_data: Path
) -> None:
    files = sorted((shared_data / "trades").glob("*.parquet"))
    process = await start(nats_url, files, max_lag_marks=2)  # nobody takes marks: it stops after three
    consumer = jetstream_bus.follow(CLOCK, "clock.market", after=0)
    await take_mark(consumer, lambda _: True)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    process = await start(nats_url, files)
    mark = await take_mark(consumer, lambda mark: mark.ended)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0

    whole = MemoryBus()
    source = ReplaySource(ReplaySettings(kind="replay", files=files))
    settings = IngestSection(max_lag_marks=0)
    await pipeline.run(source, whole, settings, asyncio.Event(), IngestMetrics(CollectorRegistry()))
    assert await contents(jetstream_bus) == await contents(whole)
    assert mark.totals["trades_published"] == 143_746


async def test_a_month_of_minutes_is_read_within_twenty_seconds(memory_bus: MemoryBus, shared_data: Path) -> None:
    file = shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet"
    async with asyncio.timeout(20):
        source = await asyncio.to_thread(ReplaySource, ReplaySettings(kind="replay", files=[file]))
        settings = IngestSection(max_lag_marks=0)
        await pipeline.run(source, memory_bus, settings, asyncio.Event(), IngestMetrics(CollectorRegistry()))
    assert pl.scan_parquet(file).select(pl.len()).collect().item() == 1_020_856
    message = await memory_bus.last(CLOCK, "clock.market")
    mark = message.event() if message else None
    assert isinstance(mark, ClockAdvanced)
    assert mark.totals["candles_read"] == 1_020_856


async def test_it_waits_for_consumers_of_the_clock_and_stops_when_told(memory_bus: MemoryBus) -> None:
    registry, stop = CollectorRegistry(), asyncio.Event()
    source = SimulatorSource(SimulatorSettings(speed=0, symbols=["BTC/USDT"], history_candles=0))
    settings = IngestSection(max_lag_marks=3)
    task = asyncio.create_task(pipeline.run(source, memory_bus, settings, stop, IngestMetrics(registry)))
    consumer = memory_bus.follow(CLOCK, "clock.market", after=0)
    marks = [await take_mark(consumer, lambda _: True) for _ in range(4)]
    assert await consumer.fetch(1, 0.1) == []
    assert registry.get_sample_value("tocsin_ingest_lag_pauses_total") == 1
    await memory_bus.publish([msgspec.structs.replace(marks[-1], stage="signals")])
    assert (await take_mark(consumer, lambda _: True)).time_ms > marks[-1].time_ms
    stop.set()
    await asyncio.wait_for(task, PATIENCE_S)


async def test_a_paced_replay_keeps_its_pace_and_skips_long_silences(tmp_path: Path) -> None:
    stamps = [1_700_000_000_000 + ms for ms in (0, 60_000, 400 * 86_400_000, 400 * 86_400_000 + 60_000)]
    frame = pl.DataFrame({"ts_ms": stamps, "price": [1.0, 2.0, 3.0, 4.0]})
    frame.select(
        pl.lit("binance").alias("exchange"), pl.lit("BTC/USDT").alias("symbol"), "ts_ms", "price", amount=1.0
    ).write_parquet(tmp_path / "trades.parquet")
    settings = ReplaySettings(kind="replay", files=[tmp_path / "trades.parquet"], speed=600)
    started_s = asyncio.get_running_loop().time()
    clocks = [chunk.clock_ms async for chunk in ReplaySource(settings).chunks(0)]
    took_s = asyncio.get_running_loop().time() - started_s
    assert all(before <= after for before, after in itertools.pairwise(clocks))
    assert 0.19 < took_s < 20
