"""What PostgreSQL says, read in one snapshot: the offsets, and the rows of every projection."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec
import polars as pl

from api_gateway import schema

CANDLES_QUERY = """
select exchange, symbol, timeframe, open_ms, open, high, low, close, volume, coalesce(trades, -1) as trades, revision
from candles order by exchange, symbol, timeframe, open_ms
"""
CANDLE_SCHEMA = {
    **dict.fromkeys(("exchange", "symbol", "timeframe"), pl.String),
    "open_ms": pl.Int64,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
    **dict.fromkeys(("trades", "revision"), pl.Int64),
}

Row = dict[str, Any]


@dataclass
class Rows:
    """Rows by table, and `offsets`: the last sequence of each stream that is in them. Candles stay in columns."""

    offsets: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    candles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CANDLE_SCHEMA))


async def read_rows(connection: asyncpg.Connection) -> Rows:
    """Read all projections as they were at one moment."""
    await connection.set_type_codec("jsonb", encoder=_no_json, decoder=msgspec.json.decode, schema="pg_catalog")
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        offsets = {row["stream"]: row["seq"] for row in await connection.fetch("select * from projection_offsets")}
        tables = {table.name: await _read(connection, table) for table in schema.TABLES if table != schema.CANDLES}
        copied = io.BytesIO()
        await connection.copy_from_query(CANDLES_QUERY, output=copied, format="csv", header=True)
    copied.seek(0)
    return Rows(offsets, tables, pl.read_csv(copied, schema=CANDLE_SCHEMA))


async def _read(connection: asyncpg.Connection, table: schema.Table) -> list[Row]:
    return [dict(row) for row in await connection.fetch(f"select * from {table.name}")]  # noqa: S608 - declared names


def _no_json(_: object) -> str:
    raise TypeError("an audit writes nothing")
