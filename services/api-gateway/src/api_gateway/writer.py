"""Carrying out what projections ask for, and moving the offset, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import asyncpg

from api_gateway.postgres import ACQUIRE_TIMEOUT_S, errors_of_ours
from api_gateway.projections import CandleCopy, PositionRefresh, Upsert, Write
from api_gateway.schema import CANDLES, POSITIONS, AnyConnection, Table

_STAGE = """
create temporary table if not exists candles_stage
    (like candles, arrival bigint generated always as identity) on commit delete rows
"""

_REFRESH_POSITIONS = """
insert into positions ({columns})
select
    wanted.portfolio, wanted.position_id, first.signal_id, first.exchange, first.symbol,
    case when first.side = 'buy' then 'long' else 'short' end,
    case when last.position_amount = 0 then 'closed' else 'open' end,
    last.position_amount, held.position_entry_price,
    totals.realised_pnl, totals.fees, totals.fills,
    first.ts_ms, case when last.position_amount = 0 then last.ts_ms end
from unnest($1::text[], $2::text[]) as wanted (portfolio, position_id)
cross join lateral (
    select sum(realised_pnl) as realised_pnl, sum(fee) as fees, count(*) as fills
    from fills f where f.portfolio = wanted.portfolio and f.position_id = wanted.position_id
) as totals
cross join lateral (
    select * from fills f where f.portfolio = wanted.portfolio and f.position_id = wanted.position_id
    order by n limit 1
) as first
cross join lateral (
    select * from fills f where f.portfolio = wanted.portfolio and f.position_id = wanted.position_id
    order by n desc limit 1
) as last
cross join lateral (
    select * from fills f where f.portfolio = wanted.portfolio and f.position_id = wanted.position_id
    order by f.position_amount = 0, n desc limit 1
) as held
on conflict (portfolio, position_id) do update set {assignments}
"""


@dataclass(frozen=True, slots=True)
class Advance:
    """The offset of `stream` moves from `expected` to `seq`, if the stream is still the one called `identity`."""

    stream: str
    identity: str
    expected: int
    seq: int


async def commit(pool: asyncpg.Pool, advance: Advance, writes: Sequence[Write]) -> bool:
    """Write and advance together. False: the offset is not where expected, so nothing was written.

    The commit does not wait for PostgreSQL's disk: rows and offset are lost together, and then come again from NATS.
    Raises Retryable while PostgreSQL is away, Rejected for values it cannot store.
    """
    with errors_of_ours():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn, conn.transaction():
            await conn.execute("set local synchronous_commit = off")
            moved = await conn.execute(
                "update projection_offsets set seq = $4 where stream = $1 and identity = $2 and seq = $3",
                advance.stream,
                advance.identity,
                advance.expected,
                advance.seq,
            )
            if moved != "UPDATE 1":
                return False
            for write in writes:
                await carry_out(conn, write)
    return True


async def carry_out(conn: AnyConnection, write: Write) -> None:
    """Do one write, inside the caller's transaction."""
    match write:
        case Upsert(table, rows):
            columns = zip(*rows, strict=True)
            await conn.execute(_upsert_sql(table), *map(list, columns))
        case CandleCopy():
            await _copy_candles(conn, write)
        case PositionRefresh(keys):
            portfolios, positions = zip(*keys, strict=True)
            await conn.execute(_positions_sql(), list(portfolios), list(positions))


async def _copy_candles(conn: AnyConnection, write: CandleCopy) -> None:
    """New candles, the rule, go straight in; only when some are there already do all take the slower way."""
    columns = list(CANDLES.columns)
    try:
        async with conn.transaction():
            await conn.copy_to_table(CANDLES.name, source=BytesIO(write.data), columns=columns, format="binary")
    except asyncpg.UniqueViolationError:
        await conn.execute(_STAGE)
        await conn.copy_to_table("candles_stage", source=BytesIO(write.data), columns=columns, format="binary")
        await conn.execute(_merge_stage_sql())


@lru_cache(maxsize=1)
def _merge_stage_sql() -> str:
    """The highest revision of each candle wins, and among equals the one that came last."""
    key, columns = ", ".join(CANDLES.key), ", ".join(CANDLES.columns)
    # S608 here and below: every name is declared in schema.py
    return (
        f"insert into candles ({columns}) "  # noqa: S608
        f"select distinct on ({key}) {columns} from candles_stage order by {key}, revision desc, arrival desc "
        f"on conflict ({key}) do update set {_assignments(CANDLES)} where excluded.revision >= candles.revision"
    )


@lru_cache(maxsize=64)
def _upsert_sql(table: Table) -> str:
    """`insert ... select from unnest(one array per column) on conflict do update`."""
    arrays = ", ".join(f"${n}::{_array(kind)}" for n, kind in enumerate(table.columns.values(), 1))
    values = ", ".join(f"u.{name}::{kind}" for name, kind in table.columns.items())
    columns = ", ".join(table.columns)
    return (
        f"insert into {table.name} ({columns}) select {values} from unnest({arrays}) as u ({columns}) "  # noqa: S608
        f"on conflict ({', '.join(table.key)}) do update set {_assignments(table)}"
    )


@lru_cache(maxsize=1)
def _positions_sql() -> str:
    return _REFRESH_POSITIONS.format(columns=", ".join(POSITIONS.columns), assignments=_assignments(POSITIONS))


def _assignments(table: Table) -> str:
    return ", ".join(
        f"{name} = excluded.{name}" for name in table.columns if name not in table.key and name not in table.kept
    )


def _array(kind: str) -> str:
    return "text[]" if kind == "jsonb" else f"{kind}[]"
