"""What the API reads from PostgreSQL. Rows come back as the JSON PostgreSQL made of them, ready to be sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

import asyncpg

from api_gateway import migrations, schema
from api_gateway.listings import SIGNAL_STORY, Listing
from api_gateway.postgres import ACQUIRE_TIMEOUT_S, errors_of_ours
from api_gateway.reports import report
from tocsin_common.errors import Retryable, TocsinError
from tocsin_common.report import Report
from tocsin_trading.performance import Performance, Tally, performance

Order = Literal["asc", "desc"]
Key = tuple[str | int, ...]
T = TypeVar("T")

_WORTH_ANOTHER_TRY = frozenset({"postgres_away", "schema_changed"})
_STATS = """
select s.strategy, s.timeframe, count(*) as signals, count(*) - count(o.signal_id) as active,
    array_agg(o.r_multiple order by o.ended_ms, o.signal_id) filter (where o.signal_id is not null) as r,
    array_agg(o.result) filter (where o.signal_id is not null) as results
from signals s left join outcomes o using (signal_id)
where ($1::text is null or s.exchange = $1) and ($2::text is null or s.symbol = $2)
    and ($3::bigint is null or s.confirmed_ms >= $3) and ($4::bigint is null or s.confirmed_ms < $4)
group by s.strategy, s.timeframe order by s.strategy, s.timeframe
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Items as JSON texts; `next_key` is where the next page starts, None at the end."""

    items: list[str]
    next_key: Key | None


@dataclass(frozen=True, slots=True)
class StrategyStats:
    """One strategy on one timeframe; `results` counts outcomes by result."""

    strategy: str
    timeframe: str
    signals: int
    active: int
    results: dict[str, int]
    performance: Performance


class Store:
    """Typed queries over a pool. Every method raises Retryable while PostgreSQL is away or too busy."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(
        self, listing: Listing, filters: Mapping[str, Any], *, after: Key | None, order: Order, limit: int
    ) -> Page:
        """Up to `limit` rows behind the key `after`; a filter that is None does not filter."""
        given = {name: value for name, value in filters.items() if value is not None}
        query = _page_sql(listing, tuple(given), after=after is not None, order=order)
        values = [*given.values(), *(after or ()), limit + 1]
        rows = await self._run(lambda conn: conn.fetch(query, *values))
        more = len(rows) > limit
        rows = rows[:limit]
        return Page([row[0] for row in rows], tuple(rows[-1])[1:] if more else None)

    async def signal_story(self, signal_id: str) -> str | None:
        """A signal and all that followed from it, as JSON; None when there is no such signal."""
        found: str | None = await self._run(lambda conn: conn.fetchval(SIGNAL_STORY, signal_id))
        return found

    async def has_portfolio(self, portfolio: str) -> bool:
        query = "select exists (select from portfolios where portfolio = $1)"
        return bool(await self._run(lambda conn: conn.fetchval(query, portfolio)))

    async def stats(
        self, *, exchange: str | None, symbol: str | None, from_ms: int | None, to_ms: int | None
    ) -> list[StrategyStats]:
        rows = await self._run(lambda conn: conn.fetch(_STATS, exchange, symbol, from_ms, to_ms))
        return [_stats(row) for row in rows]

    async def report(self, asked: report.Question, *, behind: int) -> Report:
        return await self._run(lambda conn: report.read(conn, asked, behind=behind))

    async def row_counts(self) -> dict[str, int]:
        return await self._run(schema.row_counts)

    async def offsets(self) -> dict[str, int]:
        """Projected sequence by stream."""
        rows = await self._run(lambda conn: conn.fetch("select stream, seq from projection_offsets"))
        return {row["stream"]: row["seq"] for row in rows}

    async def problem(self) -> str | None:
        """A readiness check: PostgreSQL answers and has the schema of this version."""
        try:
            todo = await self._run(migrations.pending_on)
        except TocsinError as error:
            return str(error)
        return f"migrations are pending ({', '.join(todo)}); run: tocsin migrate" if todo else None

    async def _run(self, work: Callable[[schema.AnyConnection], Awaitable[T]]) -> T:
        """Do one read; after a restart or a migration each connection fails once, so it gets a second try."""
        try:
            return await self._try(work)
        except Retryable as error:
            if error.reason not in _WORTH_ANOTHER_TRY:
                raise
            return await self._try(work)

    async def _try(self, work: Callable[[schema.AnyConnection], Awaitable[T]]) -> T:
        with errors_of_ours():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
                return await work(conn)


@lru_cache(maxsize=1024)
def _page_sql(listing: Listing, filters: tuple[str, ...], *, after: bool, order: Order) -> str:
    """Conditions take $1.. in the order of `filters`, then the key, then the limit."""
    conditions = [listing.filters[name].format(f"${n}") for n, name in enumerate(filters, 1)]
    keys = [f"{listing.alias}.{name}" for name in listing.key_names]
    position = len(filters) + 1
    if after:
        marks = ", ".join(f"${position + n}" for n in range(len(keys)))
        conditions.append(f"({', '.join(keys)}) {'>' if order == 'asc' else '<'} ({marks})")
        position += len(keys)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    ordering = ", ".join(f"{key} {order}" for key in keys)
    names = ", ".join(f"r.{name}" for name in listing.key_names)
    # S608: made of the constants in listings.py; values are parameters
    return (
        f"select row_to_json(r)::text, {names} from (select {listing.columns} from {listing.source} {where} "  # noqa: S608
        f"order by {ordering} limit ${position}) r"
    )


def _stats(row: asyncpg.Record) -> StrategyStats:
    results = row["results"] or []
    counted = {result: results.count(result) for result in sorted(set(results))}
    return StrategyStats(
        row["strategy"], row["timeframe"], row["signals"], row["active"], counted, performance(Tally.of(row["r"] or []))
    )
