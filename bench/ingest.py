"""Ingest alone: a parquet file of trades onto TRADES and CANDLES, against plain nats-py publishing the same.

Everything of a round runs on one core: reading, candles, publishing, and the NATS server too, in a process of its own.
Raw publishing is what no client can do without: nats-py's `publish_async` of messages that lie in memory, ready and
encoded, to a server as empty, under the same ids and headers, with as many messages on their way at a time. Ingest asks
for the receipts of a window's two ends, nats-py for every one, and ingest writes a mark per chunk besides. What is in
memory by then is set aside before each part, as a service does: a full pass of garbage collection over all the messages
was a quarter of raw publishing once, and none of its work. A program that publishes events has to write them as JSON,
too: the last figure says how ingest compares to one that does only that, from lists that lie in memory.

The ratios are of processor time, client and server together, so that they say the same on a busy machine; each figure
is the median of the rounds. The more trades a message holds, the faster all three are, raw publishing more so than
ingest, which pays for each trade: with 500 a message the first ratio is 0.4, with 100 it is 0.65.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nats
import psutil
import uvloop
from prometheus_client import CollectorRegistry

from bench.data import tiled_trades
from bench.report import Figure
from bench.servers import bus_on_fresh_nats, scratch
from market_ingest import pipeline
from market_ingest.config import IngestSection, ReplaySettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.replay import ReplaySource
from tocsin_common import logs
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Received
from tocsin_common.events import encode
from tocsin_common.streams import CANDLES, TRADES
from tocsin_common.tracing import HEADER

COPIES = 32
ROUNDS = 3
ROUND_S = 300.0
IN_FLIGHT = 500
LIMIT_TRADES_PER_S = 250_000
LIMIT_RATIO = 0.5


class Spent(NamedTuple):
    """Seconds on the clock, and of processor time of this process and its server."""

    clock_s: float
    cpu_s: float


async def measure() -> list[Figure]:
    """Trades per second of ingest on one core, and its ratios to raw publishing in the same rounds."""
    async with scratch() as folder:
        file = folder / "trades.parquet"
        trades = await asyncio.to_thread(tiled_trades, file, COPIES)
        rounds = [await round_on_one_core(file) for _ in range(ROUNDS)]
    speed = median(trades / ingested.clock_s for ingested, _, _ in rounds)
    ratio = median(raw.cpu_s / ingested.cpu_s for ingested, raw, _ in rounds)
    encoding_ratio = median(encoded.cpu_s / ingested.cpu_s for ingested, _, encoded in rounds)
    return [
        Figure("ingest with its server on one core", speed, "trades/s", LIMIT_TRADES_PER_S),
        Figure("ingest: ratio to raw nats-py publishing of the same", ratio, "x", LIMIT_RATIO),
        Figure("ingest: ratio to raw publishing that encodes them first", encoding_ratio, "x"),
    ]


async def round_on_one_core(file: Path) -> list[Spent]:
    """What ingest, raw publishing, and raw publishing with encoding took, in a process of their own."""
    with one_core():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.ingest", str(file)), stdout=asyncio.subprocess.PIPE
        )
    out, _ = await asyncio.wait_for(process.communicate(), ROUND_S)
    if process.returncode:
        raise SystemExit("a round of the ingest benchmark failed; its last lines say why")
    return [Spent(*seconds) for seconds in json.loads(out)]


@contextmanager
def one_core() -> Iterator[None]:
    """What is started meanwhile stays on one core, where the system can do that (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


async def one_round(file: Path) -> list[Spent]:
    """The same messages three times: through ingest, ready from memory, and encoded from memory."""
    async with bus_on_fresh_nats() as bus:
        settings = IngestSection(source=ReplaySettings(kind="replay", files=[file]), max_lag_marks=0)
        set_aside()
        before = spent()
        source = ReplaySource(settings.source)
        await pipeline.run(source, bus, settings, asyncio.Event(), IngestMetrics(CollectorRegistry()))
        ingested = since(before)
        messages = [message for stream in (TRADES, CANDLES) for message in await everything(bus, stream)]
    async with bus_on_fresh_nats() as bus:
        raw = await publish_raw(bus, messages, lambda at: messages[at].data)
    events = [message.event() for message in messages]
    async with bus_on_fresh_nats() as bus:
        encoded = await publish_raw(bus, messages, lambda at: encode(events[at]))
    return [ingested, raw, encoded]


def set_aside() -> None:
    """What is in memory is no garbage: without a look at all of it meanwhile, as in a service."""
    gc.collect()
    gc.freeze()


def spent() -> Spent:
    """Where the clocks stand; the only child of this process is its server."""
    ours = psutil.Process()
    times = [process.cpu_times() for process in (ours, *ours.children())]
    return Spent(time.perf_counter(), sum(each.user + each.system for each in times))


def since(before: Spent) -> Spent:
    now = spent()
    return Spent(now.clock_s - before.clock_s, now.cpu_s - before.cpu_s)


async def everything(bus: JetStreamBus, stream: object) -> list[Received]:
    reader = bus.reader(stream, after=0)  # type: ignore[arg-type]
    messages = await reader.through((await bus.stream_state(stream)).last_seq)  # type: ignore[arg-type]
    await reader.close()
    return messages


async def publish_raw(bus: JetStreamBus, messages: Sequence[Received], data: Callable[[int], bytes]) -> Spent:
    """What nats-py takes for the same messages, their `data` asked for one by one."""
    client = await nats.connect(bus.connection.url)
    jetstream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
    set_aside()
    before = spent()
    for start in range(0, len(messages), IN_FLIGHT):
        receipts = []
        for at in range(start, min(start + IN_FLIGHT, len(messages))):
            message = messages[at]
            headers = {"Nats-Msg-Id": message.message_id, HEADER: message.traceparent}
            receipts.append(await jetstream.publish_async(published_as(message.subject), data(at), headers=headers))
        await asyncio.wait_for(asyncio.gather(*receipts), 60)
    took = since(before)
    await client.close()
    return took


def published_as(stored: str) -> str:
    """The subject a message was published on: the stored one without its partition."""
    market, kind, _partition, *rest = stored.split(".")
    return ".".join([market, kind, *rest])


if __name__ == "__main__":
    logs.configure("bench", level="warning")
    print(json.dumps(uvloop.run(one_round(Path(sys.argv[1])))))
