"""The same candles give the same signals, to the last byte, however many threads, orders and restarts there are."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from signal_engine.engine import Engine
from signal_engine.history import signals_of
from signal_engine.strategies import STRATEGIES, AnyStrategy, build
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, SignalRaised, encode
from tocsin_common.streams import SIGNALS, Stream
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Play = Callable[..., Awaitable[None]]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

TIMEFRAMES = ["15m", "1h", "4h"]
BOUNDARY_MS = TIMEFRAME_MS["4h"]
RESTARTS = 10

LIVE = """
import hashlib, sys
import polars as pl
from signal_engine.engine import Engine
from signal_engine.strategies import STRATEGIES, build
from tocsin_common.events import CandlesClosed, encode

engine = Engine([build(name) for name in STRATEGIES], sys.argv[2].split(","))
digest = hashlib.sha256()
for _, boundary in pl.read_parquet(sys.argv[1]).group_by("boundary", maintain_order=True):
    for _, rows in boundary.group_by("exchange", "symbol", "timeframe", maintain_order=True):
        names = {name: rows[name][0] for name in ("exchange", "symbol", "timeframe")}
        columns = {name: rows[name].to_list() for name in ("open_ms", "open", "high", "low", "close", "volume")}
        engine.add([CandlesClosed(**names, **columns, origin="exchange")])
    for signal in engine.evaluate(boundary["ends_ms"].max()):
        digest.update(encode(signal))
print(pl.thread_pool_size(), digest.hexdigest())
"""


def strategies() -> list[AnyStrategy]:
    return [build(name) for name in STRATEGIES]


def digest_of(signals: Iterable[SignalRaised]) -> str:
    return hashlib.sha256(b"".join(encode(signal) for signal in signals)).hexdigest()


@pytest.fixture(scope="module")
def candles(month: pl.DataFrame) -> pl.DataFrame:
    """A month of two markets in three timeframes, in the order of 4 hours each: `boundary`, and when a candle ends."""
    length = pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
    rows = month.filter(pl.col("timeframe").is_in(TIMEFRAMES)).with_columns(ends_ms=pl.col("open_ms") + length)
    rows = rows.with_columns(boundary=(pl.col("ends_ms") - 1) // BOUNDARY_MS)
    return rows.sort("boundary", "symbol", "timeframe", "open_ms")


@pytest.fixture(scope="module")
def expected(month: pl.DataFrame) -> list[SignalRaised]:
    return signals_of(strategies(), month, timeframes=TIMEFRAMES)


@pytest.fixture(scope="module")
def boundaries(candles: pl.DataFrame, candles_event: Chunk) -> list[list[CandlesClosed]]:
    """What closes within each 4 hours, one message for a market and timeframe."""
    keys = ("exchange", "symbol", "timeframe")
    return [
        [candles_event(rows) for _, rows in boundary.group_by(*keys, maintain_order=True)]
        for _, boundary in candles.group_by("boundary", maintain_order=True)
    ]


def test_every_shipped_strategy_has_something_to_say(expected: list[SignalRaised]) -> None:
    assert {signal.strategy for signal in expected} == set(STRATEGIES)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_nothing(
    threads: int, candles: pl.DataFrame, expected: list[SignalRaised], tmp_path: Path
) -> None:
    path = tmp_path / "candles.parquet"
    candles.write_parquet(path)
    done = subprocess.run(
        [sys.executable, "-c", LIVE, path, ",".join(TIMEFRAMES)],
        env={**os.environ, "POLARS_MAX_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(threads), digest_of(expected)]


@pytest.mark.parametrize("seed", range(3))
async def test_the_order_in_which_a_boundary_arrives_changes_nothing(
    seed: int,
    boundaries: Sequence[Sequence[CandlesClosed]],
    expected: list[SignalRaised],
    play: Play,
    stored: StoredEvents,
) -> None:
    bus, rng = MemoryBus(), random.Random(seed)
    shuffled = [rng.sample(boundary, len(boundary)) for boundary in boundaries]
    await play(bus, Engine(strategies(), TIMEFRAMES), shuffled)
    assert digest_of(await stored(bus, SIGNALS)) == digest_of(expected)


async def test_ten_restarts_change_nothing(
    boundaries: Sequence[Sequence[CandlesClosed]], expected: list[SignalRaised], play: Play, stored: StoredEvents
) -> None:
    bus, rng = MemoryBus(), random.Random(7)
    cuts = [0, *sorted(rng.sample(range(1, len(boundaries)), RESTARTS)), len(boundaries)]
    for start, end in pairwise(cuts):
        await play(bus, Engine(strategies(), TIMEFRAMES), boundaries[start:end])
    assert digest_of(await stored(bus, SIGNALS)) == digest_of(expected)
