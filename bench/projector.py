"""The projector: candles from the stream into PostgreSQL, against a raw COPY of the same rows."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import polars as pl
from prometheus_client import CollectorRegistry

from api_gateway import migrations
from api_gateway.metrics import Metrics
from api_gateway.projector import Projector
from bench.data import shared_data
from bench.report import Figure
from bench.servers import bus_on_fresh_nats, fresh_postgres
from tocsin_common.bus.consume import pause
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import CandlesClosed
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import CANDLES

ROWS_PER_MESSAGE = 240
COLUMNS = ("exchange", "symbol", "timeframe", "open_ms", "open", "high", "low", "close", "volume", "origin", "revision")


async def measure() -> list[Figure]:
    """Rows per second of the projector, and its ratio to COPY into an equal table."""
    frame = pl.read_parquet(shared_data() / "candles" / "binance_1m_23_symbols_2021-05.parquet").sort("symbol", "ts_ms")
    async with bus_on_fresh_nats() as bus, fresh_postgres() as url:
        await migrations.apply(url)
        await bus.publish(messages(frame))
        projector_s = await project(bus, url, frame.height)
        copy_s = await copy_raw(url, frame)
    return [
        Figure("projector, candles", frame.height / projector_s, "rows/s", 100_000),
        Figure("projector as a ratio to raw COPY of the same rows", copy_s / projector_s, "x"),
    ]


def messages(frame: pl.DataFrame) -> list[CandlesClosed]:
    """The candles as market-ingest publishes them."""
    events = []
    for part in frame.partition_by("symbol"):
        for rows in part.iter_slices(ROWS_PER_MESSAGE):
            columns = {name: rows[name].to_list() for name in ("open", "high", "low", "close", "volume")}
            events.append(
                CandlesClosed(
                    exchange="binance",
                    symbol=rows["symbol"][0],
                    timeframe="1m",
                    origin="exchange",
                    open_ms=rows["ts_ms"].to_list(),
                    **columns,
                )
            )
    return events


async def project(bus: JetStreamBus, url: str, rows: int) -> float:
    """Seconds from starting the projector until its last row is there."""
    stop, registry = asyncio.Event(), CollectorRegistry()
    pool = await asyncpg.create_pool(url, min_size=2, max_size=8)
    projector = Projector(bus, url, pool, Metrics(registry), BusMetrics(registry), batch=256)
    last_seq = (await bus.stream_state(CANDLES)).last_seq
    started = time.perf_counter()
    task = asyncio.create_task(projector.run(stop))
    while projector.positions().get(CANDLES.name, 0) < last_seq:
        await pause(stop, 0.01)
    elapsed = time.perf_counter() - started
    stop.set()
    await task
    stored = await pool.fetchval("select count(*) from candles")
    await pool.close()
    if stored != rows:
        raise SystemExit(f"the projector stored {stored} of {rows} rows")
    return elapsed


async def copy_raw(url: str, frame: pl.DataFrame) -> float:
    """Seconds of one COPY into a table with the same columns and key."""
    connection = await asyncpg.connect(url)
    await connection.execute("create table raw (like candles including all)")
    ready = frame.with_columns(origin=pl.lit("exchange"), revision=pl.lit(0)).rename({"ts_ms": "open_ms"})
    records = list(ready.select(COLUMNS).iter_rows())
    started = time.perf_counter()
    await connection.copy_records_to_table("raw", records=records, columns=list(COLUMNS))
    elapsed = time.perf_counter() - started
    await connection.close()
    return elapsed
