"""The projected tables: their columns, keys, and what two identical replays may differ in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg
from asyncpg.pool import PoolConnectionProxy

AnyConnection = asyncpg.Connection | PoolConnectionProxy


@dataclass(frozen=True, eq=False)
class Table:
    """One projected table.

    `columns` maps names to PostgreSQL types, in the table's order. `wall_clock` columns hold our clock, or what a
    receiver answered: two identical replays may differ in them, a rebuild may not. `kept` columns keep their first
    value when the row is written again.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    wall_clock: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    key_positions: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = list(self.columns)
        object.__setattr__(self, "key_positions", tuple(names.index(name) for name in self.key))


def _columns(text: str) -> dict[str, str]:
    """Parse `name type, name type`; several names may share a type: `open high float8`."""
    found: dict[str, str] = {}
    for part in text.split(","):
        *names, kind = part.split()
        found |= dict.fromkeys(names, kind)
    return found


CANDLES = Table(
    "candles",
    ("exchange", "symbol", "timeframe", "open_ms"),
    _columns(
        "exchange symbol timeframe text, open_ms int8, open high low close volume float8, trades int4, origin text,"
        "revision int4"
    ),
)
SIGNALS = Table(
    "signals",
    ("signal_id",),
    _columns(
        "signal_id strategy strategy_version params_hash exchange symbol timeframe text, candle_open_ms confirmed_ms"
        " int8, side text, confidence int4, entry stop float8, targets jsonb, expires_ms int8, reasons features jsonb,"
        "definition text, risk jsonb"
    ),
)
OUTCOMES = Table(
    "outcomes",
    ("signal_id",),
    _columns(
        "signal_id strategy exchange symbol timeframe side result text, confirmed_ms ended_ms int8,"
        "exit_price r_multiple mfe_r mae_r float8, targets_hit int4, basis text"
    ),
)
ALERTS = Table(
    "alerts",
    ("event_id",),
    _columns(
        "event_id alert_id decision rule_id kind cause_id text, ts_ms int8, exchange symbol title text text,"
        "fields subscribers jsonb, subscriber_id reason detail text"
    ),
)
DELIVERIES = Table(
    "deliveries",
    ("delivery_id",),
    _columns(
        "delivery_id alert_id subscriber_id channel state text, attempt int4, queued_ms at_ms int8,"
        "reason provider_ref text"
    ),
    wall_clock=frozenset({"queued_ms", "at_ms", "provider_ref"}),
    kept=frozenset({"queued_ms"}),
)
DELIVERY_EVENTS = Table(
    "delivery_events",
    ("delivery_id", "state", "attempt"),
    _columns("delivery_id state text, attempt int4, at_ms int8, reason provider_ref text"),
    wall_clock=frozenset({"at_ms", "provider_ref"}),
)
PORTFOLIOS = Table(
    "portfolios",
    ("portfolio",),
    _columns("portfolio text, n opened_ms int8, currency text, initial_cash numeric"),
)
FILLS = Table(
    "fills",
    ("portfolio", "n"),
    _columns(
        "portfolio text, n ts_ms int8, position_id signal_id exchange symbol side reason text,"
        "amount price market_price fee numeric, basis basis_ref text,"
        "position_amount position_entry_price realised_pnl cash_after numeric"
    ),
)
SKIPS = Table("skips", ("portfolio", "n"), _columns("portfolio text, n ts_ms int8, signal_id reason text"))
POSITIONS = Table(
    "positions",
    ("portfolio", "position_id"),
    _columns(
        "portfolio position_id signal_id exchange symbol side state text, amount entry_price realised_pnl fees numeric,"
        "fills int4, opened_ms closed_ms int8"
    ),
)
EQUITY = Table(
    "equity", ("portfolio", "n"), _columns("portfolio text, n ts_ms int8, cash equity numeric, holdings jsonb")
)

TABLES = (
    CANDLES,
    SIGNALS,
    OUTCOMES,
    ALERTS,
    DELIVERIES,
    DELIVERY_EVENTS,
    PORTFOLIOS,
    FILLS,
    SKIPS,
    POSITIONS,
    EQUITY,
)
"""Every projected table. `projection_offsets` and `schema_migrations` are bookkeeping, not projections."""


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a table holds: equal digests mean equal rows, value for value."""

    rows: int
    sha256: str


async def digests(conn: AnyConnection, *, wall_clock: bool) -> dict[str, TableDigest]:
    """The digest of every table, by name, computed inside PostgreSQL (about 4 s per million rows).

    `wall_clock` False leaves out the columns two identical replays may differ in. Tables up to 33 million rows: the
    32-byte row hashes of a table, in key order, must fit PostgreSQL's 1 GB limit on a value.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute("set local statement_timeout = 0")
        return {table.name: await _digest(conn, table, wall_clock=wall_clock) for table in TABLES}


async def row_counts(conn: AnyConnection) -> dict[str, int]:
    """Rows of every table, by name, as of one moment."""
    counts = ", ".join(f"(select count(*) from {table.name})" for table in TABLES)  # noqa: S608 - declared above
    row = await conn.fetchrow(f"select {counts}")
    assert row is not None
    return dict(zip((table.name for table in TABLES), row, strict=True))


async def _digest(conn: AnyConnection, table: Table, *, wall_clock: bool) -> TableDigest:
    columns = [name for name in table.columns if wall_clock or name not in table.wall_clock]
    hashes = f"string_agg(sha256(row({', '.join(columns)})::text::bytea), ''::bytea order by {', '.join(table.key)})"
    query = f"select count(*), encode(sha256(coalesce({hashes}, ''::bytea)), 'hex') from {table.name}"  # noqa: S608 - as above
    row = await conn.fetchrow(query)
    assert row is not None
    return TableDigest(rows=row[0], sha256=row[1])
