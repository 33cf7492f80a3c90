"""The same candles give the same signals, to the last byte, however many threads, orders and restarts there are."""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.history import signals_of
from signal_engine.metrics import Metrics
from signal_engine.rounds import Rounds
from signal_engine.strategies import STRATEGIES, AnyStrategy, build
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Stored
from tocsin_common.events import CandlesClosed, ClockAdvanced, Event, SignalRaised, encode
from tocsin_common.streams import CLOCK, SIGNALS, Stream
from tocsin_common.subjects import clock
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Play = Callable[..., Awaitable[None]]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

TIMEFRAMES = ["15m", "1h", "4h"]
BOUNDARY_MS = 2 * TIMEFRAME_MS["4h"]
KILLS = 10

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


@pytest.mark.parametrize("threads", [1, 4])
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


async def test_the_order_in_which_a_boundary_arrives_changes_nothing(
    boundaries: Sequence[Sequence[CandlesClosed]],
    expected: list[SignalRaised],
    play: Play,
    stored: StoredEvents,
) -> None:
    bus, rng = MemoryBus(), random.Random(0)
    shuffled = [rng.sample(boundary, len(boundary)) for boundary in boundaries]
    await play(bus, Engine(strategies(), TIMEFRAMES), shuffled)
    assert digest_of(await stored(bus, SIGNALS)) == digest_of(expected)


class Killed(BaseException):
    """The process dies here."""


class MortalBus(MemoryBus):
    """Dies after a number of stored events: in the middle of a batch, before a receipt or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.lives_for: float = math.inf

    async def publish(self, events: Sequence[Event], **_: object) -> list[Stored]:
        stored = []
        for event in events:
            if self.lives_for <= 0:
                raise Killed
            stored += await super().publish([event])
            self.lives_for -= 1
        return stored


async def publish_market(bus: MemoryBus, boundaries: Iterable[Sequence[CandlesClosed]]) -> None:
    for boundary in boundaries:
        receipts = await bus.publish(boundary)
        ends_ms = max(event.open_ms[-1] + TIMEFRAME_MS[event.timeframe] for event in boundary)
        last = receipts[-1].seq
        await bus.publish(
            [ClockAdvanced(stage="market", source="replay", time_ms=ends_ms, trades_seq=0, candles_seq=last)]
        )


async def live(bus: MortalBus, rng: random.Random) -> None:
    """One life of the service: it handles marks, some at a time, until there is none left, or it dies."""
    rounds = Rounds(bus, Engine(strategies(), TIMEFRAMES), Metrics(CollectorRegistry()), snapshot_messages=50)
    await rounds.resume()
    follower = bus.follow(CLOCK, clock("market"), after=rounds.position.seq)
    while messages := await follower.fetch(rng.choice((1, 3, 8)), 0):
        await bus.publish(await rounds.handle([Incoming(message.event(), message) for message in messages]))
        await follower.ack(messages)


async def test_killed_ten_times_in_the_middle_of_anything_nothing_changes(
    boundaries: Sequence[Sequence[CandlesClosed]], expected: list[SignalRaised], stored: StoredEvents
) -> None:
    bus, rng = MortalBus(), random.Random(7)
    await publish_market(bus, boundaries)
    for _ in range(KILLS):
        bus.lives_for = rng.randrange(2, (len(boundaries) + len(expected)) // KILLS)
        with pytest.raises(Killed):
            await live(bus, rng)
    bus.lives_for = math.inf
    await live(bus, rng)
    assert digest_of(await stored(bus, SIGNALS)) == digest_of(expected)
