"""Numbered SQL files, applied once each, in order, under one lock; what was applied may never change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from api_gateway.postgres import MIGRATION_LOCK, connect
from api_gateway.schema import AnyConnection
from tocsin_common.errors import TocsinError

_BOOK = """
create table if not exists schema_migrations (
    name text primary key, sha256 text not null, applied_at timestamptz not null default now()
)
"""


class MigrationError(TocsinError):
    """The database and the migration files contradict each other."""


@dataclass(frozen=True)
class Migration:
    """One file: `name` as `0001_projections.sql`."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def declared() -> list[Migration]:
    """The migrations of this version, in order."""
    found = (files(__package__) / "migrations").iterdir()
    return [
        Migration(file.name, file.read_text(encoding="utf-8"))
        for file in sorted(found, key=lambda file: file.name)
        if file.name.endswith(".sql")
    ]


async def apply(dsn: str) -> list[str]:
    """Apply what is pending, each file in its own transaction; returns the names applied.

    Several may run at once: one applies, the others wait and find nothing left. Raises MigrationError when an applied
    file changed or the database is newer, Unreachable when PostgreSQL is away.
    """
    conn = await connect(dsn)
    try:
        await conn.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
        await conn.execute(_BOOK)
        todo = _pending(declared(), await _applied(conn))
        for migration in todo:
            await _apply_one(conn, migration)
        return [migration.name for migration in todo]
    finally:
        await conn.close()


async def pending(dsn: str) -> list[str]:
    """Names of the migrations that are not applied yet. Changes nothing; raises as `apply` does."""
    conn = await connect(dsn)
    try:
        return await pending_on(conn)
    finally:
        await conn.close()


async def pending_on(conn: AnyConnection) -> list[str]:
    """`pending`, over a connection that is open already."""
    return [migration.name for migration in _pending(declared(), await _applied(conn))]


async def _applied(conn: AnyConnection) -> dict[str, str]:
    """Checksum by name of what the database says was applied."""
    if await conn.fetchval("select to_regclass('schema_migrations')") is None:
        return {}
    rows = await conn.fetch("select name, sha256 from schema_migrations")
    return {row["name"]: row["sha256"] for row in rows}


def _pending(known: list[Migration], applied: dict[str, str]) -> list[Migration]:
    by_name = {migration.name: migration for migration in known}
    for name, sha256 in sorted(applied.items()):
        if name not in by_name:
            raise MigrationError(
                f"the database has the migration {name}, which this version does not know: run a newer version."
            )
        if by_name[name].sha256 != sha256:
            raise MigrationError(
                f"the migration {name} was applied with other content than it has now: restore the file and put the "
                "change into a new migration, or drop the database and rebuild it."
            )
    return [migration for migration in known if migration.name not in applied]


async def _apply_one(conn: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with conn.transaction():
            await conn.execute(migration.sql)
            await conn.execute(
                "insert into schema_migrations (name, sha256) values ($1, $2)", migration.name, migration.sha256
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"the migration {migration.name} failed and was rolled back: {error}") from error
