"""The projector against real PostgreSQL: nothing lost, nothing twice, whatever happens to offsets and connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from api_gateway import migrations
from api_gateway.metrics import Metrics
from api_gateway.postgres import PROJECTOR_LOCK, close_pool, open_pool
from api_gateway.rebuild import rebuild
from api_gateway.schema import digests, row_counts
from api_gateway.stream_projector import StreamProjector
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Received
from tocsin_common.errors import Retryable, TocsinError
from tocsin_common.streams import CANDLES, DEAD, PROJECTED, PROJECTOR, SIGNALS


async def count(conn: asyncpg.Connection, table: str) -> int:
    return int(await conn.fetchval(f"select count(*) from {table}"))


async def offset(conn: asyncpg.Connection, stream: str) -> int | None:
    found: int | None = await conn.fetchval("select seq from projection_offsets where stream = $1", stream)
    return found


def incoming(messages: Sequence[Received]) -> list[Incoming]:
    return [Incoming(message.event(), message) for message in messages]


@pytest.fixture
async def signals(database: str, memory_bus: MemoryBus) -> Any:
    """A projector of SIGNALS that the test drives by hand."""
    pool = await open_pool(database, size=2, statement_timeout_ms=5_000)
    consumer = memory_bus.consumer(PROJECTOR["SIGNALS"])
    projector = StreamProjector(memory_bus, consumer, pool, SIGNALS, Metrics(CollectorRegistry()))
    await projector.synchronise()
    yield projector
    await close_pool(pool)


async def read(bus: MemoryBus, after: int, seq: int) -> list[Incoming]:
    return incoming(await bus.reader(SIGNALS, after=after).through(seq))


@pytest.fixture
async def gateway_on_nats(start_gateway: Any, jetstream_bus: JetStreamBus) -> Any:
    return await start_gateway(jetstream_bus)


async def test_projects_every_stream_of_a_real_server(
    gateway_on_nats: Any, connection: asyncpg.Connection, make: Any
) -> None:
    gateway, jetstream_bus = gateway_on_nats, gateway_on_nats.bus
    await jetstream_bus.publish(make.story())
    await gateway.projected()
    assert await row_counts(connection) == {
        "candles": 90,
        "signals": 12,
        "outcomes": 5,
        "alerts": 2,
        "deliveries": 6,
        "delivery_events": 16,
        "portfolios": 1,
        "fills": 4,
        "skips": 1,
        "positions": 2,
        "equity": 2,
    }
    assert gateway.projector.state == "running"
    assert await gateway.projector.problem() is None
    for stream in PROJECTED:
        assert (await jetstream_bus.durable_state(PROJECTOR[stream.name])).pending == 0


async def test_the_same_batch_twice_is_written_once(
    signals: StreamProjector, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(n) for n in range(4)])
    batch = await read(memory_bus, 0, 4)
    await signals.handle(batch)
    before = await digests(connection, wall_clock=True)
    assert await signals.handle(batch) == []
    assert await digests(connection, wall_clock=True) == before
    assert (await offset(connection, "SIGNALS"), signals.position) == (4, 4)


async def test_after_a_crash_between_commit_and_ack_it_goes_on_behind_the_commit(
    signals: StreamProjector, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(n) for n in range(6)])
    consumer = memory_bus.consumer(PROJECTOR["SIGNALS"])
    await signals.handle(incoming(await consumer.fetch(4, 1)))  # never acknowledged: the process dies here
    successor = StreamProjector(memory_bus, consumer, signals._pool, SIGNALS, Metrics(CollectorRegistry()))
    await successor.synchronise()
    again = await consumer.fetch(10, 1)
    assert [message.seq for message in again] == [5, 6]
    await successor.handle(incoming(again))
    assert await count(connection, "signals") == 6


async def test_an_offset_that_somebody_else_moved_back_is_followed(
    signals: StreamProjector, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(n) for n in range(6)])
    consumer = memory_bus.consumer(PROJECTOR["SIGNALS"])
    await signals.handle(incoming(await consumer.fetch(4, 1)))
    await connection.execute("delete from signals; update projection_offsets set seq = 1 where stream = 'SIGNALS'")
    await signals.handle(incoming(await consumer.fetch(10, 1)))
    assert (signals.position, await count(connection, "signals")) == (1, 0)
    await signals.handle(incoming(await consumer.fetch(10, 1)))
    assert (signals.position, await count(connection, "signals")) == (6, 5)


async def test_two_projectors_never_overwrite_each_other(
    signals: StreamProjector, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(n) for n in range(6)])
    consumer = memory_bus.consumer(PROJECTOR["SIGNALS"])
    other = StreamProjector(memory_bus, consumer, signals._pool, SIGNALS, Metrics(CollectorRegistry()))
    await other.synchronise()
    await asyncio.gather(signals.handle(await read(memory_bus, 0, 3)), other.handle(await read(memory_bus, 0, 3)))
    await signals.handle(await read(memory_bus, 3, 6))
    assert await offset(connection, "SIGNALS") in (3, 6)
    assert await count(connection, "signals") == await offset(connection, "SIGNALS")


async def test_a_stream_made_anew_is_projected_from_its_beginning(
    start_gateway: Any, database: str, connection: asyncpg.Connection, make: Any
) -> None:
    old, new = MemoryBus(), MemoryBus()
    await old.publish([make.signal(n) for n in range(5)])
    await (await start_gateway(old)).projected()
    assert await offset(connection, "SIGNALS") == 5
    await new.publish([make.signal(n) for n in (3, 4, 5, 6)])
    pool = await open_pool(database, size=2, statement_timeout_ms=5_000)
    consumer = new.consumer(PROJECTOR["SIGNALS"])
    projector = StreamProjector(new, consumer, pool, SIGNALS, Metrics(CollectorRegistry()))
    await projector.synchronise()
    await projector.handle(incoming(await consumer.fetch(10, 1)))
    await close_pool(pool)
    assert (await offset(connection, "SIGNALS"), await count(connection, "signals")) == (4, 7)


async def test_malformed_and_misplaced_messages_go_to_dead_and_their_neighbours_are_projected(
    gateway: Any, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    log = memory_bus._log(SIGNALS)
    await memory_bus.publish([make.signal(0)])
    broken = make.signal(1)
    await memory_bus.publish([broken])
    stored = log.messages[2]
    log.messages[2] = Received(stored.stream, stored.subject, 2, stored.stored_ms, "x", b"{not json")
    await memory_bus.publish([make.signal(2), make.signal(3, reasons=["nul \0 is no text"]), make.signal(4)])
    await gateway.projected()
    assert await count(connection, "signals") == 3
    letters = [message.event() for message in await memory_bus.reader(DEAD, after=0).through(10)]
    assert {(letter.seq, letter.reason) for letter in letters} == {(2, "malformed"), (4, "not_storable")}


async def test_it_waits_for_migrations_and_says_so(
    postgres_url: str, start_gateway: Any, make: Any, until: Any
) -> None:
    # What is asked for first ends last: the database after the gateway.
    bus = MemoryBus()
    conn = await asyncpg.connect(postgres_url)
    await conn.execute("drop schema public cascade; create schema public")
    gateway = await start_gateway(bus, dsn=postgres_url)
    await bus.publish([make.signal(0)])

    async def waits() -> bool:
        return "tocsin migrate" in (await gateway.projector.problem() or "")

    from_http = (await gateway.get("/health"))[1]
    assert "tocsin migrate" in from_http["problems"]["postgres"]
    await until(waits)
    await migrations.apply(postgres_url)
    await gateway.projected()
    assert await count(conn, "signals") == 1
    await conn.close()


async def test_lost_connections_are_survived(
    gateway: Any, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(n) for n in range(3)])
    await gateway.projected()
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    await memory_bus.publish([make.signal(n) for n in range(3, 9)])
    await gateway.projected()
    assert await count(connection, "signals") == 9
    assert (await gateway.get("/signals"))[0] == 200


async def test_while_postgres_is_away_it_is_retryable(
    signals: StreamProjector, memory_bus: MemoryBus, make: Any
) -> None:
    await memory_bus.publish([make.signal(0)])
    pool = await open_pool("postgresql://postgres@127.0.0.1:1/none", size=1, statement_timeout_ms=1_000)
    signals._pool = pool
    with pytest.raises(Retryable, match="postgres_away"):
        await signals.handle(await read(memory_bus, 0, 1))
    assert "SIGNALS: postgres_away" in str(signals.problem)
    await pool.close()


async def test_only_one_gateway_projects_and_the_other_stands_by(
    start_gateway: Any, memory_bus: MemoryBus, make: Any, until: Any
) -> None:
    first = await start_gateway(memory_bus)
    await first.projected()
    second = await start_gateway(memory_bus)
    await until(lambda: second.projector.state == "standby")
    assert await second.projector.problem() is None
    first.stop.set()
    await memory_bus.publish([make.signal(0)])
    await second.projected()
    assert second.projector.state == "running"


async def test_a_rebuild_gives_identical_rows(
    gateway_on_nats: Any, database: str, connection: asyncpg.Connection, make: Any, until: Any
) -> None:
    gateway, jetstream_bus = gateway_on_nats, gateway_on_nats.bus
    for event in make.story():
        await jetstream_bus.publish([event])
    await gateway.projected()
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(TocsinError, match="an api-gateway is projecting"):
        await rebuild(jetstream_bus, database, progress=lambda *at: seen.append(at))
    gateway.stop.set()
    await until(lambda: gateway.projector.state == "stopped")
    before = await digests(connection, wall_clock=True)
    report = await rebuild(jetstream_bus, database, progress=lambda *at: seen.append(at))
    assert report.equal
    assert report.messages["CANDLES"] == 9
    assert set(report.skipped.values()) == {0}
    assert ("CANDLES", 9, 9) in seen
    assert await digests(connection, wall_clock=True) == before
    assert await offset(connection, "CANDLES") == 9


async def test_a_rebuild_repairs_rows_and_says_which_differed(
    database: str, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish(make.story())
    await rebuild(memory_bus, database, progress=lambda *_: None)
    await connection.execute("update signals set confidence = 1; insert into skips values ('x', 1, 1, 'a', 'b')")
    report = await rebuild(memory_bus, database, progress=lambda *_: None)
    assert {name for name, table in report.tables.items() if not table.equal} == {"signals", "skips"}
    assert (await rebuild(memory_bus, database, progress=lambda *_: None)).equal


async def test_a_rebuild_that_could_not_bring_back_expired_candles_changes_nothing(
    database: str, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.candles(n) for n in range(5)])
    await rebuild(memory_bus, database, progress=lambda *_: None)
    memory_bus.purge(CANDLES, before=3)
    with pytest.raises(TocsinError, match="CANDLES begins at sequence 3"):
        await rebuild(memory_bus, database, progress=lambda *_: None)
    assert await count(connection, "candles") == 5
    report = await rebuild(memory_bus, database, progress=lambda *_: None, allow_loss=True)
    assert (report.tables["candles"].before.rows, report.tables["candles"].after.rows) == (5, 3)


async def test_a_rebuild_passes_over_what_was_refused(
    database: str, memory_bus: MemoryBus, connection: asyncpg.Connection, make: Any
) -> None:
    await memory_bus.publish([make.signal(0), make.signal(1, reasons=["\0"]), make.signal(2)])
    report = await rebuild(memory_bus, database, progress=lambda *_: None)
    assert (report.messages["SIGNALS"], report.skipped["SIGNALS"]) == (3, 1)
    assert await count(connection, "signals") == 2
    assert await connection.fetchval("select pg_try_advisory_lock($1)", PROJECTOR_LOCK) is not False
