"""Migrations, and that the declared tables are the tables there are."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from api_gateway import migrations
from api_gateway.schema import TABLES, digests, row_counts
from tocsin_common.errors import Unreachable


@pytest.fixture
async def migrated(postgres_url: str) -> str:
    """A migrated database that the test may spoil."""
    await migrations.apply(postgres_url)
    return postgres_url


async def test_applies_what_is_pending_once_and_in_order(postgres_url: str) -> None:
    names = [migration.name for migration in migrations.declared()]
    assert await migrations.pending(postgres_url) == names == sorted(names)
    assert await migrations.apply(postgres_url) == names
    assert await migrations.apply(postgres_url) == []
    assert await migrations.pending(postgres_url) == []


async def test_several_at_once_apply_every_migration_once(postgres_url: str) -> None:
    applied = await asyncio.gather(*(migrations.apply(postgres_url) for _ in range(4)))
    assert sorted(applied, key=len)[:3] == [[], [], []]
    assert await migrations.pending(postgres_url) == []


async def test_an_applied_file_that_changed_is_an_error_that_names_it(migrated: str) -> None:
    conn = await asyncpg.connect(migrated)
    await conn.execute("update schema_migrations set sha256 = 'other'")
    await conn.close()
    with pytest.raises(migrations.MigrationError, match=r"0001_projections\.sql was applied with other content"):
        await migrations.apply(migrated)
    with pytest.raises(migrations.MigrationError, match="0001"):
        await migrations.pending(migrated)


async def test_a_database_of_a_newer_version_is_refused(migrated: str) -> None:
    conn = await asyncpg.connect(migrated)
    await conn.execute("insert into schema_migrations (name, sha256) values ('9999_later.sql', 'x')")
    await conn.close()
    with pytest.raises(migrations.MigrationError, match=r"9999_later\.sql.*newer version"):
        await migrations.apply(migrated)


async def test_a_failing_migration_leaves_nothing_behind(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = migrations.Migration("0999_bad.sql", "create table half (a int); select nonsense;")
    known = [*migrations.declared(), bad]
    monkeypatch.setattr(migrations, "declared", lambda: known)
    with pytest.raises(migrations.MigrationError, match=r"0999_bad\.sql failed and was rolled back"):
        await migrations.apply(migrated)
    conn = await asyncpg.connect(migrated)
    assert await conn.fetchval("select to_regclass('half')") is None
    await conn.close()


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(Unreachable) as caught:
        await migrations.pending("postgresql://me:hunter2@127.0.0.1:1/db")
    assert "127.0.0.1:1/db" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_the_declared_tables_are_the_tables_of_the_migrations(connection: asyncpg.Connection) -> None:
    columns = await connection.fetch(
        "select table_name, column_name, udt_name from information_schema.columns "
        "where table_schema = 'public' order by table_name, ordinal_position"
    )
    keys = await connection.fetch(
        "select table_name, column_name from information_schema.key_column_usage "
        "join information_schema.table_constraints using (constraint_name, table_name) "
        "where constraint_type = 'PRIMARY KEY' order by table_name, ordinal_position"
    )
    for table in TABLES:
        found = {row["column_name"]: row["udt_name"] for row in columns if row["table_name"] == table.name}
        assert list(found.items()) == list(table.columns.items())
        assert table.key == tuple(row["column_name"] for row in keys if row["table_name"] == table.name)
        assert table.wall_clock <= set(table.columns)
        assert table.kept <= set(table.columns)
    assert {row["table_name"] for row in columns} == {table.name for table in TABLES} | {
        "projection_offsets",
        "schema_migrations",
    }


async def test_digests_see_every_value_and_leave_the_wall_clock_out_when_asked(connection: asyncpg.Connection) -> None:
    await connection.execute("insert into skips values ('main', 1, 5, 'a', 'b'), ('main', 2, 5, 'a', 'b')")
    await connection.execute("insert into deliveries values ('d', 'a', 's', 'email', 'sent', 1, 10, 20, '', 'ref')")
    exact, market = await digests(connection, wall_clock=True), await digests(connection, wall_clock=False)
    assert (exact["skips"].rows, exact["candles"].rows) == (2, 0)
    await connection.execute("update deliveries set at_ms = 21, queued_ms = 11, provider_ref = 'other'")
    assert await digests(connection, wall_clock=False) == market
    later = await digests(connection, wall_clock=True)
    assert [name for name in later if later[name] != exact[name]] == ["deliveries"]
    await connection.execute("update skips set reason = 'c' where n = 2")
    changed = await digests(connection, wall_clock=False)
    assert [name for name in changed if changed[name] != market[name]] == ["skips"]
    assert (await row_counts(connection))["skips"] == 2
