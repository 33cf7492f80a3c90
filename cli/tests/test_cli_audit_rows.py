"""Every invariant between streams and database finds a row that was tampered with; real PostgreSQL, real projector."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import asyncpg
import pytest

from api_gateway import migrations, postgres
from api_gateway.rebuild import rebuild
from tocsin.audit import projections
from tocsin.audit.facts import collect
from tocsin.audit.projections import Evidence
from tocsin.audit.rows import read_rows
from tocsin.audit.table import PROJECTION_INVARIANTS, check_all
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import AlertSuppressed, Event, SignalSkipped

Check = Callable[[Evidence], Iterable[str]]

TAMPERED: list[tuple[Check, str, str]] = [
    (projections.every_signal_is_one_row, "delete from signals", "no row"),
    (projections.every_signal_is_one_row, "update signals set stop = stop + 1e-9", "stop differ"),
    (projections.every_signal_is_one_row, "update signals set reasons = '[]'", "reasons differ"),
    (projections.every_signal_is_one_row, "update signals set signal_id = 'x'", "a row without an event"),
    (projections.every_outcome_is_one_row, "update outcomes set r_multiple = 3", "r_multiple differ"),
    (projections.every_alert_decision_is_one_row, "delete from alerts where decision = 'suppressed'", "no row"),
    (projections.every_alert_decision_is_one_row, "update alerts set title = 'x' where kind = 'signal'", "title"),
    (projections.every_delivery_row_is_its_last_step, "update deliveries set state = 'failed'", "state differ"),
    (projections.every_delivery_step_is_one_row, "delete from delivery_events where state = 'queued'", "no row"),
    (projections.every_portfolio_is_one_row, "update portfolios set initial_cash = 7", "initial_cash differ"),
    (projections.every_paper_event_is_one_row, "update fills set fee = fee + 1e-20 where n = 2", "fee differ"),
    (projections.every_paper_event_is_one_row, "delete from skips", "skips: demo 6: no row"),
    (projections.every_paper_event_is_one_row, "update equity set equity = 0 where n = 5", "equity differ"),
    (projections.every_position_row_follows_from_its_fills, "update positions set state = 'open'", "state differ"),
    (projections.every_candle_is_one_row, "delete from candles where open = 101", "9 rows, 10 candles"),
    (projections.every_candle_is_one_row, "update candles set close = 1 where timeframe = '5m'", "differs from"),
    (
        projections.every_candle_is_one_row,
        "insert into candles select exchange, 'X/Y', timeframe, open_ms, 1, 1, 1, 1, 1, 1, origin, 0 from candles",
        "2 rows that are not on the stream",
    ),
]


@pytest.fixture
async def database(postgres_url: str) -> asyncpg.Connection:
    await migrations.apply(postgres_url)
    connection = await postgres.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
async def bus(honest: list[Event], memory_bus: MemoryBus, postgres_url: str, database: object) -> MemoryBus:
    """A bus with an honest market, and its projection in the database."""
    skipped = SignalSkipped(portfolio="demo", n=6, ts_ms=1, signal_id="s", reason="no_cash")
    spared = AlertSuppressed(alert_id="a2", rule_id="r1", cause_id="c", subscriber_id="me", ts_ms=1, reason="muted")
    await memory_bus.publish([*honest, skipped, spared])
    await rebuild(memory_bus, postgres_url, progress=lambda *_: None)
    return memory_bus


async def evidence(bus: MemoryBus, database: asyncpg.Connection) -> Evidence:
    rows = await read_rows(database)
    return Evidence(await collect(bus), rows)


async def test_honest_rows_keep_every_invariant(bus: MemoryBus, database: asyncpg.Connection) -> None:
    seen = await evidence(bus, database)
    assert [finding for invariant in PROJECTION_INVARIANTS for finding in invariant.check(seen)] == []


async def test_every_tampered_row_is_found(bus: MemoryBus, database: asyncpg.Connection) -> None:
    for check, tampering, expected in TAMPERED:
        transaction = database.transaction(isolation="repeatable_read")
        await transaction.start()
        await database.execute(tampering)
        findings = list(check(await evidence(bus, database)))
        assert any(expected in finding for finding in findings), (tampering, findings)
        await transaction.rollback()


async def test_rows_that_are_not_projected_yet_are_not_missing(
    bus: MemoryBus, database: asyncpg.Connection, honest: list[Event]
) -> None:
    late = SignalSkipped(portfolio="demo", n=7, ts_ms=2, signal_id="s", reason="no_cash")
    await bus.publish([late])
    assert not list(projections.every_paper_event_is_one_row(await evidence(bus, database)))


async def test_all_invariants_are_in_the_report_with_what_they_say(
    bus: MemoryBus, database: asyncpg.Connection
) -> None:
    results = check_all(await evidence(bus, database))
    assert len(results) >= 25
    assert all(result.says.endswith((".", "failure.")) for result in results)
    assert len({result.name for result in results}) == len(results)
