"""Events to rows, in PostgreSQL as it really is."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from api_gateway.projections import PROJECTIONS
from api_gateway.schema import digests
from api_gateway.writer import carry_out
from tocsin_common.errors import Rejected
from tocsin_common.events import Event
from tocsin_common.streams import PROJECTED, stream_of


async def write(conn: asyncpg.Connection, events: list[Event], *, batch: int = 1000) -> None:
    """Project events in stream order, in batches of one stream each."""
    for stream in PROJECTED:
        of_stream: Any = [event for event in events if stream_of(event.subject) is stream]
        for start in range(0, len(of_stream), batch):
            async with conn.transaction():
                for item in PROJECTIONS[stream.name](of_stream[start : start + batch]):
                    await carry_out(conn, item)


async def test_candles_arrive_value_for_value(connection: asyncpg.Connection, make: Any) -> None:
    values = [0.1, 1e-12, 123456789.123456789, 2.5e300, 5e-324]
    event = make.candles(7, 5, open=values, symbol="ÄÖ/USDT:USDT", trades=[0, 1, 2, 3, 2**31 - 1])
    await write(connection, [event, make.candles(7, 1, timeframe="5m", origin="history")])
    rows = await connection.fetch("select * from candles where timeframe = '1m' order by open_ms")
    assert [row["open"] for row in rows] == values
    assert [row["open_ms"] for row in rows] == event.open_ms
    assert [row["trades"] for row in rows] == event.trades
    assert {(row["exchange"], row["symbol"], row["origin"], row["revision"]) for row in rows} == {
        ("binance", "ÄÖ/USDT:USDT", "exchange", 0)
    }
    other = await connection.fetchrow("select trades, origin from candles where timeframe = '5m'")
    assert tuple(other) == (None, "history")


async def test_a_correction_replaces_and_an_older_revision_does_not(connection: asyncpg.Connection, make: Any) -> None:
    first, correction = make.candles(0, 3), make.candles(1, 1, revision=2, close=[7.0])
    older, equal = make.candles(1, 1, revision=1, close=[8.0]), make.candles(2, 1, close=[9.0])
    for batch in (1, 10):
        await connection.execute("truncate candles")
        await write(connection, [first, correction, older, equal], batch=batch)
        rows = await connection.fetch("select close, revision from candles order by open_ms")
        assert [tuple(row) for row in rows] == [(first.close[0], 0), (7.0, 2), (9.0, 0)]


async def test_the_last_state_of_a_delivery_counts_and_when_it_was_queued_stays(
    connection: asyncpg.Connection, make: Any
) -> None:
    steps = [
        make.delivery(1, "queued", 0, at_ms=100),
        make.delivery(1, "attempting", 1, at_ms=110),
        make.delivery(1, "retrying", 1, at_ms=120, reason="http_500"),
        make.delivery(1, "attempting", 2, at_ms=130),
        make.delivery(1, "sent", 2, at_ms=140, provider_ref="m1"),
    ]
    for batch in (1, 2, 5):
        await connection.execute("truncate deliveries, delivery_events")
        await write(connection, steps, batch=batch)
        row = await connection.fetchrow("select state, attempt, queued_ms, at_ms, reason, provider_ref from deliveries")
        assert tuple(row) == ("sent", 2, 100, 140, "", "m1")
        assert await connection.fetchval("select count(*) from delivery_events") == 5


async def test_money_keeps_every_decimal(connection: asyncpg.Connection, make: Any) -> None:
    fill = make.fill(2, amount="0.000000000000000001", held="1")
    await write(connection, [make.opened(), fill, make.equity(3)])
    row = await connection.fetchrow("select amount, price, cash_after from fills")
    assert tuple(row) == (fill.amount, fill.price, fill.cash_after)
    holdings = await connection.fetchval("select holdings from equity")
    assert '"mark_price": "101"' in holdings


async def test_positions_are_what_their_fills_add_up_to(connection: asyncpg.Connection, make: Any) -> None:
    await write(connection, make.story())
    rows = {row["position_id"]: row for row in await connection.fetch("select * from positions")}
    closed, opened = rows["p1"], rows["p2"]
    assert (closed["side"], closed["state"], closed["amount"], closed["fills"]) == ("long", "closed", 0, 3)
    assert closed["realised_pnl"] == Decimal("0.123456789012345678") + Decimal("-0.25")
    assert (closed["fees"], closed["entry_price"]) == (Decimal("0.30"), Decimal("100.05"))
    assert (closed["opened_ms"], closed["closed_ms"]) == (2 * 60_000, 6 * 60_000)
    assert (opened["side"], opened["state"], opened["amount"], opened["closed_ms"]) == ("short", "open", -1, None)


async def test_rows_do_not_depend_on_batches_or_on_projecting_twice(connection: asyncpg.Connection, make: Any) -> None:
    story = make.story()
    await write(connection, story)
    expected = await digests(connection, wall_clock=True)
    for seed in range(3):
        print("seed", seed)
        chance = random.Random(seed)
        await connection.execute(f"truncate {', '.join(expected)}")
        await write(connection, story[: chance.randrange(len(story))], batch=chance.randint(1, 9))
        await write(connection, story, batch=chance.randint(1, 9))
        assert await digests(connection, wall_clock=True) == expected


def test_an_event_on_the_wrong_stream_is_rejected(make: Any) -> None:
    for stream in PROJECTED:
        stranger = make.candles(0) if stream.name != "CANDLES" else make.signal(0)
        with pytest.raises(Rejected, match="unexpected_event"):
            PROJECTIONS[stream.name]([stranger])


@pytest.mark.parametrize("fields", [{"trades": [2**31]}, {"revision": -1}, {"trades": [-1]}])
def test_numbers_that_postgres_cannot_hold_are_rejected(make: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="not_storable"):
        PROJECTIONS["CANDLES"]([make.candles(0, 1, **fields)])
