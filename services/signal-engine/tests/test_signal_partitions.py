"""Replicas of the service share the partitions: byte for byte the signals of one, whoever is killed, paused or new.

`TOCSIN_KILLS` says how often one of three is killed and replaced (default 1).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import polars as pl
import pytest

from signal_engine.history import signals_of
from signal_engine.strategies import build
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import CandlesClosed, ClockAdvanced, encode
from tocsin_common.streams import CLOCK, LEASES, SIGNALS
from tocsin_common.subjects import clock

Chunk = Callable[..., CandlesClosed]

NAMES = ("ema_cross", "macd_trend", "smart_money", "breadth_thrust", "btc_divergence")
"""Enough for every way of evaluation, those that look at the whole market among them."""

KILLS = int(os.environ.get("TOCSIN_KILLS", "1"))
PATIENCE_S = 60.0
TAKEOVER_S = 15.0
PACE_S = 0.1 + 0.04 * KILLS
PAUSE_STEPS = 20
"""A replica is killed so many steps of the market after the last change, or sooner."""
STEP_CANDLES = 6
LEAP_CANDLES = 120
"""When nothing more happens to the replicas, the market goes on in greater steps, which cost fewer rounds."""
MEMBER, PARTITION = "signal-engine-member-", "signal-engine-partition-"


@pytest.fixture(scope="module")
def candles(shared_data: Path) -> pl.DataFrame:
    """3,000 candles of 1m of twelve symbols. BNB stands for bitcoin, which the record does not have."""
    path = shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet"
    columns = ("exchange", "symbol", "timeframe", "open_ms", "open", "high", "low", "close", "volume")
    renamed = pl.read_parquet(path).with_columns(pl.col("symbol").str.replace("BNB", "BTC"))
    frame = renamed.rename({"ts_ms": "open_ms"}).select(columns).sort("symbol", "open_ms")
    chosen = frame["symbol"].unique(maintain_order=True).to_list()[:12]
    start_ms = frame["open_ms"][25_000]
    when = pl.col("open_ms").is_between(start_ms, start_ms + 3_000 * 60_000, closed="left")
    return frame.filter(when & pl.col("symbol").is_in(chosen))


@pytest.fixture(scope="module")
def expected(candles: pl.DataFrame) -> list[bytes]:
    return sorted(encode(one) for one in signals_of([build(name) for name in NAMES], candles))


class Replica:
    """One signal-engine process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, nats_url: str) -> Replica:
        environ = {
            **os.environ,
            "TOCSIN__NATS__URL": nats_url,
            "TOCSIN__SIGNAL_ENGINE__TIMEFRAMES": "[1m]",
            "TOCSIN__SIGNAL_ENGINE__STRATEGIES": f"[{', '.join(f'{{name: {name}}}' for name in NAMES)}]",
            "TOCSIN__LOG__LEVEL": "warning",
            "POLARS_MAX_THREADS": "1",
        }
        return cls(await asyncio.create_subprocess_exec(sys.executable, "-m", "signal_engine", env=environ))

    async def end(self, how: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.wait()


@asynccontextmanager
async def replicas(nats_url: str, count: int) -> AsyncIterator[list[Replica]]:
    """Processes that may be ended, and replaced in the list, inside the context."""
    running = [await Replica.start(nats_url) for _ in range(count)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lambda: asyncio.gather(*(one.end(signal.SIGKILL) for one in running)))
        yield running


class Market:
    """Puts candles of all symbols on the streams, some minutes and a mark at a time."""

    def __init__(self, bus: Bus, candles: pl.DataFrame, candles_event: Chunk) -> None:
        self._bus = bus
        self._event = candles_event
        self._waiting = candles.partition_by("symbol", maintain_order=True)
        self.mark: ClockAdvanced | None = None

    @property
    def left(self) -> int:
        """Minutes that did not come yet."""
        return len(self._waiting[0])

    async def step(self, minutes: int = STEP_CANDLES) -> ClockAdvanced:
        """The next minutes."""
        events = [self._event(one.head(minutes)) for one in self._waiting]
        self._waiting = [one.slice(minutes) for one in self._waiting]
        receipts = await self._bus.publish(events)
        self.mark = ClockAdvanced(
            stage="market",
            source="replay",
            time_ms=events[0].open_ms[-1] + 60_000,
            trades_seq=0,
            candles_seq=receipts[-1].seq,
            cursor=receipts[-1].seq,
            ended=not self.left,
        )
        await self._bus.publish([self.mark])
        return self.mark

    async def until_later(self, steps: int) -> None:
        """Until it has gone on by so many steps."""
        left = self.left - steps * STEP_CANDLES

        async def later() -> bool:
            return self.left <= left

        await until(later)

    @asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """It goes on inside the context, at a walk; then all the rest follows in leaps."""

        async def go_on() -> None:
            while self.left > LEAP_CANDLES:
                await self.step()
                await asyncio.sleep(PACE_S)

        task = asyncio.create_task(go_on())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while self.left:
            await self.step(LEAP_CANDLES)


async def until(condition: Callable[[], Awaitable[bool]], wait_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + wait_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.02)


async def shares(bus: Bus) -> list[int]:
    """How many partitions each member holds."""
    entries = await bus.bucket(LEASES).all()
    held = Counter((entry.value or b"").decode() for key, entry in entries.items() if key.startswith(PARTITION))
    return sorted(held[key.removeprefix(MEMBER)] for key in entries if key.startswith(MEMBER))


async def until_shared(bus: Bus, count: int) -> None:
    async def evenly() -> bool:
        held = await shares(bus)
        return len(held) == count and sum(held) == 64 and held[-1] - held[0] <= 1

    await until(evenly)


async def until_answered(bus: Bus, mark: ClockAdvanced, wait_s: float = PATIENCE_S) -> None:
    """Until a mark of stage `signals` covers the market's."""

    async def answered() -> bool:
        found = await bus.last(CLOCK, clock("signals"))
        event = found.event() if found else None
        return isinstance(event, ClockAdvanced) and event.covers(mark)

    await until(answered, wait_s)


async def check(bus: Bus, expected: list[bytes]) -> None:
    """Every signal once and to the byte, and marks that never go back."""
    end = (await bus.stream_state(SIGNALS)).last_seq
    assert sorted(message.data for message in await bus.reader(SIGNALS, after=0).through(end)) == expected
    end = (await bus.stream_state(CLOCK)).last_seq
    events = [message.event() for message in await bus.reader(CLOCK, after=0).through(end)]
    marks = [event for event in events if isinstance(event, ClockAdvanced) and event.stage == "signals"]
    for before, after in itertools.pairwise(marks):
        assert after.candles_seq > before.candles_seq
        assert after.signals_seq >= before.signals_seq
    assert marks[-1].ended


async def test_three_replicas_one_of_them_killed_again_and_again_give_the_signals_of_one(
    nats_url: str, jetstream_bus: Bus, candles: pl.DataFrame, candles_event: Chunk, expected: list[bytes]
) -> None:
    market, chance = Market(jetstream_bus, candles, candles_event), random.Random(time.time_ns())
    async with replicas(nats_url, 3) as running:
        await until_shared(jetstream_bus, 3)
        async with market.trading():
            for _ in range(KILLS):
                await market.until_later(chance.randrange(PAUSE_STEPS))
                victim = running.pop(chance.randrange(3))
                await victim.end(signal.SIGKILL)
                assert market.mark is not None
                await until_answered(jetstream_bus, await market.step(), TAKEOVER_S)
                running.append(await Replica.start(nats_url))
                await until_shared(jetstream_bus, 3)
        assert market.mark is not None
        await until_answered(jetstream_bus, market.mark)
    await check(jetstream_bus, expected)


async def test_a_replica_that_was_paused_until_others_took_over_disturbs_nothing(
    nats_url: str, jetstream_bus: Bus, candles: pl.DataFrame, candles_event: Chunk, expected: list[bytes]
) -> None:
    market = Market(jetstream_bus, candles, candles_event)
    async with replicas(nats_url, 2) as running:
        await until_shared(jetstream_bus, 2)
        async with market.trading():
            running[0].process.send_signal(signal.SIGSTOP)
            await until_answered(jetstream_bus, await market.step(), TAKEOVER_S)
            running[0].process.send_signal(signal.SIGCONT)
            await until_shared(jetstream_bus, 2)
        assert market.mark is not None
        await until_answered(jetstream_bus, market.mark)
    await check(jetstream_bus, expected)


async def test_told_to_stop_the_last_replica_leaves_everything_to_the_next(
    nats_url: str, jetstream_bus: Bus, candles: pl.DataFrame, candles_event: Chunk, expected: list[bytes]
) -> None:
    market = Market(jetstream_bus, candles, candles_event)
    async with market.trading(), replicas(nats_url, 1) as (first,):
        await until_answered(jetstream_bus, await market.step())
        await first.end(signal.SIGTERM)
        assert first.process.returncode == 0
    async with replicas(nats_url, 1):
        assert market.mark is not None
        await until_answered(jetstream_bus, market.mark)
    await check(jetstream_bus, expected)
