"""What is counted in PostgreSQL for a report. Everything goes by market time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg

from api_gateway.reports.windows import SLICE_MS, Window
from api_gateway.schema import AnyConnection
from tocsin_common.report import AlertFigures
from tocsin_trading.performance import Tally

PORTFOLIOS_MAX = 100
CURVE_POINTS = 240
"""At most, and about as many as a picture can show."""

_FILTER = """($3::text is null or exchange = $3) and ($4::text is null or symbol = $4)
    and ($5::text is null or strategy = $5) and ($6::text is null or timeframe = $6)"""

_OUTCOMES = f"""
select strategy, symbol, slice, result, count(*) as count,
    count(*) filter (where r > 0) as wins, count(*) filter (where r < 0) as losses,
    coalesce(sum(r) filter (where r > 0), 0) as won_r, coalesce(sum(r) filter (where r < 0), 0) as lost_r
from (select strategy, symbol, confirmed_ms / {SLICE_MS} as slice, result, r_multiple as r from outcomes
    where ended_ms >= $1 and ended_ms < $2 and {_FILTER}) o
group by grouping sets ((), (strategy), (symbol), (slice), (result))
"""  # noqa: S608 - made of the constants above
_SIGNALS = f"""
select strategy, symbol, slice, count(*) as signals,
    count(*) filter (where ended_ms is null or ended_ms >= $2) as active
from (select s.strategy, s.symbol, s.confirmed_ms / {SLICE_MS} as slice, o.ended_ms
    from signals s left join outcomes o using (signal_id)
    where s.confirmed_ms >= $1 and s.confirmed_ms < $2
        and ($3::text is null or s.exchange = $3) and ($4::text is null or s.symbol = $4)
        and ($5::text is null or s.strategy = $5) and ($6::text is null or s.timeframe = $6)) x
group by grouping sets ((), (strategy), (symbol), (slice))
"""  # noqa: S608 - as above
_CURVE = f"""
select (ended_ms - $1) / $7::bigint as step, sum(r_multiple) as r from outcomes
where ended_ms >= $1 and ended_ms < $2 and {_FILTER} group by step order by step
"""  # noqa: S608 - as above
_ALERTS = """
select decision, coalesce(reason, '') as reason, count(*) as count from alerts
where ts_ms >= $1 and ts_ms < $2 group by decision, reason
"""
_DELIVERIES = """
select d.state, count(*) as count from alerts a join deliveries d using (alert_id)
where a.decision = 'raised' and a.ts_ms >= $1 and a.ts_ms < $2 group by d.state
"""
_PORTFOLIOS = """
select b.portfolio, b.currency, coalesce(
        (select equity from equity where portfolio = b.portfolio and ts_ms < $1 order by n desc limit 1), b.initial_cash
    ) as equity_before,
    (select array_agg(equity order by n) from equity where portfolio = b.portfolio and ts_ms >= $1 and ts_ms < $2)
        as marks, f.fills, f.realised_pnl, f.fees
from portfolios b left join lateral (
    select count(*) as fills, coalesce(sum(realised_pnl), 0) as realised_pnl, coalesce(sum(fee), 0) as fees
    from fills where portfolio = b.portfolio and ts_ms >= $1 and ts_ms < $2) f on true
where b.opened_ms < $2 order by b.portfolio limit $3
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which signals and outcomes count; None: all."""

    exchange: str | None = None
    symbol: str | None = None
    strategy: str | None = None
    timeframe: str | None = None


@dataclass(slots=True)
class Count:
    """Signals confirmed in a window, how many of them had not ended by its end, and the outcomes that ended in it."""

    signals: int = 0
    active: int = 0
    outcomes: Tally = field(default_factory=Tally)


Counts = defaultdict[str, Count]


@dataclass(slots=True)
class Counted:
    """One window: everything, and by strategy, symbol and slice of time (of the confirmation)."""

    total: Count = field(default_factory=Count)
    strategies: Counts = field(default_factory=lambda: defaultdict(Count))
    symbols: Counts = field(default_factory=lambda: defaultdict(Count))
    slices: defaultdict[int, Count] = field(default_factory=lambda: defaultdict(Count))
    results: dict[str, int] = field(default_factory=dict)

    def at(self, row: asyncpg.Record) -> Count:
        """Where a row of grouping sets belongs: it names its group, or none."""
        if row["strategy"] is not None:
            return self.strategies[row["strategy"]]
        if row["symbol"] is not None:
            return self.symbols[row["symbol"]]
        return self.total if row["slice"] is None else self.slices[row["slice"]]


@dataclass(frozen=True, slots=True)
class PortfolioCounted:
    """`curve`: the equity before the window, then every mark in it."""

    portfolio: str
    currency: str
    curve: list[Decimal]
    fills: int
    realised_pnl: Decimal
    fees: Decimal


async def count(conn: AnyConnection, window: Window, only: Filter) -> Counted:
    """Signals and outcomes of a window, in all their groups."""
    values = (window.from_ms, window.to_ms, only.exchange, only.symbol, only.strategy, only.timeframe)
    found = Counted()
    for row in await conn.fetch(_SIGNALS, *values):
        group = found.at(row)
        group.signals, group.active = row["signals"], row["active"]
    for row in await conn.fetch(_OUTCOMES, *values):
        if row["result"] is not None:
            found.results[row["result"]] = row["count"]
        else:
            found.at(row).outcomes = Tally(row["count"], row["wins"], row["losses"], row["won_r"], row["lost_r"])
    return found


async def curve(conn: AnyConnection, window: Window, only: Filter) -> list[tuple[int, float]]:
    """Steps of time in which outcomes ended, each by its end, with the sum of their R multiples."""
    step_ms = max(1, -(-window.length_ms // CURVE_POINTS))
    values = (window.from_ms, window.to_ms, only.exchange, only.symbol, only.strategy, only.timeframe, step_ms)
    rows = await conn.fetch(_CURVE, *values)
    return [(min(window.from_ms + (row["step"] + 1) * step_ms, window.to_ms), row["r"]) for row in rows]


async def alerts(conn: AnyConnection, window: Window) -> AlertFigures:
    """What was raised and suppressed, and what became of the deliveries."""
    decisions = await conn.fetch(_ALERTS, window.from_ms, window.to_ms)
    states = await conn.fetch(_DELIVERIES, window.from_ms, window.to_ms)
    suppressed = {row["reason"]: row["count"] for row in decisions if row["decision"] == "suppressed"}
    return AlertFigures(
        raised=sum(row["count"] for row in decisions if row["decision"] == "raised"),
        suppressed=dict(sorted(suppressed.items())),
        deliveries={row["state"]: row["count"] for row in sorted(states, key=lambda row: str(row["state"]))},
    )


async def portfolios(conn: AnyConnection, window: Window) -> list[PortfolioCounted]:
    """The portfolios that were open before the window's end, the first PORTFOLIOS_MAX by name."""
    rows = await conn.fetch(_PORTFOLIOS, window.from_ms, window.to_ms, PORTFOLIOS_MAX)
    return [
        PortfolioCounted(
            row["portfolio"],
            row["currency"],
            [row["equity_before"], *(row["marks"] or [])],
            row["fills"],
            row["realised_pnl"],
            row["fees"],
        )
        for row in rows
    ]
