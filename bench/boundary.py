"""The top of an hour: every candle of 2,000 symbols in 5 timeframes closes at once, on a real server and service.

The engine is warm: each series has CANDLES of origin `history`, from which windows are filled and no signal comes; the
candle before of every timeframe has closed, the longest first; and the engine has done what it does when nobody waits.
Then all 10,000 candles are stored, in chunks with a mark each as
market-ingest does, and the figure is what the server's own clock says: from the last candle stored to the last signal
stored. With that hour blocks of every timeframe end, and the processor time has what it takes to begin the next ones.

Once with one replica, and once with two, each of which evaluates half of the partitions: one evaluates on one core.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice

import psutil

from bench.ingest import everything
from bench.markets import END_MS, Markets
from bench.report import Figure
from bench.servers import bus_on_fresh_nats
from signal_engine.partitions.shared import SIGNAL_ENGINE
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import CandlesClosed, ClockAdvanced
from tocsin_common.streams import CANDLES, CLOCK, LEASES, SIGNALS
from tocsin_common.subjects import PARTITIONS, clock
from tocsin_trading.timeframes import TIMEFRAME_MS

SYMBOLS, TIMEFRAMES, HISTORY = 2_000, ("1m", "5m", "15m", "1h", "4h"), 511
BEGIN_MS = END_MS - 2 * TIMEFRAME_MS[TIMEFRAMES[-1]]
CHUNK_MESSAGES = 1_000
LIMIT_S, PATIENCE_S, LOOK_S = 1.0, 300.0, 0.02
IDLE_S, IDLE_SHARE = 0.5, 0.1
MIB = 2**20


async def measure() -> list[Figure]:
    """Seconds from the last candle to the last signal, how many signals, and the engine's memory; of one replica, and
    of two."""
    figures = []
    for replicas, limit_s in ((1, None), (2, LIMIT_S)):
        figures += await boundary(replicas, limit_s)
    return figures


async def boundary(replicas: int, limit_s: float | None) -> list[Figure]:
    markets = Markets(SYMBOLS, HISTORY + 1)
    async with bus_on_fresh_nats() as bus, running_engines(bus, replicas) as processes:
        for timeframe in TIMEFRAMES:
            await store(bus, markets.events(timeframe, 0, HISTORY - 1, origin="history"), BEGIN_MS)
        for timeframe in reversed(TIMEFRAMES):
            before = markets.events(timeframe, HISTORY - 1, HISTORY)
            await store(bus, before, END_MS - TIMEFRAME_MS[timeframe])
        await idle(processes)
        seen = (await bus.stream_state(SIGNALS)).last_seq
        warm_mib, before_s = sum(one.memory_info().rss for one in processes) / MIB, cpu_s(processes)
        closing = (event for timeframe in TIMEFRAMES for event in markets.events(timeframe, HISTORY, HISTORY + 1))
        stored_ms = await store(bus, closing, END_MS)
        spent_s = cpu_s(processes) - before_s
        signals = [message for message in await everything(bus, SIGNALS) if message.seq > seen]
    took_s = (max(message.stored_ms for message in signals) - stored_ms) / 1000
    by = f"{replicas} replica{'s' * (replicas > 1)}"
    what = f"{SYMBOLS:,} symbols x {len(TIMEFRAMES)} timeframes at the top of the hour, {by}"
    return [
        Figure(f"{what}: last close to last signal", took_s, "s", limit_s, at_least=False),
        Figure(f"processor time of {by}, ready for the next candles", spent_s, "s"),
        Figure("signals of that hour", len(signals), "signals"),
        Figure(f"memory of {by}, warm, before it", warm_mib, "MiB"),
    ]


async def idle(processes: Sequence[psutil.Process]) -> None:
    """Wait until they have nothing to do: they are warm, and prepared for the next candles."""
    spent_s = -IDLE_S
    while cpu_s(processes) - spent_s > IDLE_SHARE * IDLE_S:
        spent_s = cpu_s(processes)
        await asyncio.sleep(IDLE_S)


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)


async def store(bus: JetStreamBus, candles: Iterable[CandlesClosed], time_ms: int) -> int:
    """Publish candles with a mark for each chunk, wait until the engine has handled all; when the last was stored, ms.

    All marks but the last say that market time has not come to `time_ms` yet, as something of that moment is to come.
    """
    waiting, seq = iter(candles), 0
    while chunk := list(islice(waiting, CHUNK_MESSAGES)):
        if seq:
            await mark(bus, time_ms - 1, seq)
        seq = (await bus.publish(chunk))[-1].seq
    await mark(bus, time_ms, seq)
    async with asyncio.timeout(PATIENCE_S):
        while not await handled(bus, seq):  # noqa: ASYNC110 - what changes is on a server
            await asyncio.sleep(LOOK_S)
    (last,) = await bus.page(CANDLES, "market.candles.>", after=seq - 1, limit=1)
    return last.stored_ms


async def mark(bus: JetStreamBus, time_ms: int, candles_seq: int) -> None:
    passed = ClockAdvanced(
        stage="market", source="bench", time_ms=time_ms, trades_seq=0, candles_seq=candles_seq, cursor=candles_seq
    )
    await bus.publish([passed])


async def handled(bus: JetStreamBus, candles_seq: int) -> bool:
    newest = await bus.last(CLOCK, clock("signals"))
    passed = newest.event() if newest else None
    return isinstance(passed, ClockAdvanced) and passed.candles_seq >= candles_seq


@asynccontextmanager
async def running_engines(bus: JetStreamBus, replicas: int) -> AsyncIterator[list[psutil.Process]]:
    """So many of the service itself, each with every shipped strategy and its share of the partitions."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running_engine(bus)) for _ in range(replicas)]
        async with asyncio.timeout(PATIENCE_S):
            while sorted(await shares(bus)) != [PARTITIONS // replicas] * replicas:  # noqa: ASYNC110 - on a server, too
                await asyncio.sleep(LOOK_S)
        yield processes


async def shares(bus: JetStreamBus) -> Iterable[int]:
    """How many partitions each replica holds."""
    leases = await bus.bucket(LEASES).all()
    return Counter(lease.value for key, lease in leases.items() if key.startswith(SIGNAL_ENGINE.partitions)).values()


@asynccontextmanager
async def running_engine(bus: JetStreamBus) -> AsyncIterator[psutil.Process]:
    """The service itself, with every shipped strategy."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    environ |= {
        "TOCSIN__NATS__URL": bus.connection.url,
        "TOCSIN__LOG__LEVEL": "warning",
        "TOCSIN__SIGNAL_ENGINE__TIMEFRAMES": f"[{', '.join(TIMEFRAMES)}]",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "signal_engine", env=environ, stdout=DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()
