"""Ingest alone: a parquet file of trades onto TRADES and CANDLES, against plain nats-py publishing the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import nats
from prometheus_client import CollectorRegistry

from bench.data import tiled_trades
from bench.report import Figure
from bench.servers import bus_on_fresh_nats, scratch
from market_ingest import pipeline
from market_ingest.config import IngestSection, ReplaySettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.replay import ReplaySource
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Received
from tocsin_common.streams import CANDLES, TRADES

COPIES = 8
IN_FLIGHT = 500


async def measure() -> list[Figure]:
    """Trades per second of ingest, and its ratio to raw publishing in the same run."""
    async with scratch() as folder:
        file = folder / "trades.parquet"
        trades = await asyncio.to_thread(tiled_trades, file, COPIES)
        async with bus_on_fresh_nats() as bus:
            settings = IngestSection(source=ReplaySettings(kind="replay", files=[file]), max_lag_marks=0)
            started = time.perf_counter()
            source = await asyncio.to_thread(ReplaySource, settings.source)
            await pipeline.run(source, bus, settings, asyncio.Event(), IngestMetrics(CollectorRegistry()))
            ingest_s = time.perf_counter() - started
            messages = [message for stream in (TRADES, CANDLES) for message in await everything(bus, stream)]
        async with bus_on_fresh_nats() as bus:
            raw_s = await publish_raw(bus, messages)
    return [
        Figure("ingest alone, parquet to TRADES and CANDLES", trades / ingest_s, "trades/s", 100_000),
        Figure("ingest as a ratio to raw nats-py publishing of the same messages", raw_s / ingest_s, "x"),
    ]


async def everything(bus: JetStreamBus, stream: object) -> list[Received]:
    reader = bus.reader(stream, after=0)  # type: ignore[arg-type]
    messages = await reader.through((await bus.stream_state(stream)).last_seq)  # type: ignore[arg-type]
    await reader.close()
    return messages


async def publish_raw(bus: JetStreamBus, messages: Sequence[Received]) -> float:
    """Seconds nats-py takes for the same payloads, with the same number of receipts awaited at a time."""
    client = await nats.connect(bus.connection.url)
    jetstream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
    started = time.perf_counter()
    for start in range(0, len(messages), IN_FLIGHT):
        window = messages[start : start + IN_FLIGHT]
        receipts = [
            await jetstream.publish_async(published_as(m.subject), m.data, headers={"Nats-Msg-Id": m.message_id})
            for m in window
        ]
        await asyncio.wait_for(asyncio.gather(*receipts), 60)
    elapsed = time.perf_counter() - started
    await client.close()
    return elapsed


def published_as(stored: str) -> str:
    """The subject a message was published on: the stored one without its partition."""
    market, kind, _partition, *rest = stored.split(".")
    return ".".join([market, kind, *rest])
