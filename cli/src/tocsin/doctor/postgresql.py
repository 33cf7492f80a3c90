"""Checks of PostgreSQL: reachable, recent enough, migrated, in time."""

from __future__ import annotations

import time

from api_gateway import migrations, postgres
from tocsin.doctor.finding import Finding
from tocsin.doctor.machine import check_clock
from tocsin_common.errors import TocsinError

VERSION_MIN = 150000
"""PostgreSQL 15, the oldest version the migrations are run against."""


async def check_postgres(url: str) -> list[Finding]:
    """All that can be seen with one connection."""
    try:
        connection = await postgres.connect(url)
    except TocsinError as error:
        return [Finding("postgresql", problem=str(error), remedy="start it, or correct postgres.url")]
    try:
        number = int(await connection.fetchval("show server_version_num"))
        version = await connection.fetchval("show server_version")
        before = time.time() * 1000
        theirs = float(await connection.fetchval("select extract(epoch from clock_timestamp()) * 1000"))
        findings = [_version(url, number, version), check_clock("PostgreSQL", before, theirs, time.time() * 1000)]
        return [*findings, _migrations(await migrations.pending_on(connection))]
    except TocsinError as error:
        return [Finding("postgresql", problem=str(error), remedy="see `tocsin migrate --help`")]
    finally:
        await connection.close()


def _version(url: str, number: int, version: str) -> Finding:
    if number >= VERSION_MIN:
        return Finding("postgresql", f"{postgres.shown(url)} runs {version}")
    problem = f"version {version} is older than {VERSION_MIN // 10000}"
    return Finding("postgresql", problem=problem, remedy="upgrade the server")


def _migrations(pending: list[str]) -> Finding:
    if not pending:
        return Finding("migrations", f"all {len(migrations.declared())} applied")
    return Finding("migrations", problem=f"not applied: {', '.join(pending)}", remedy="run: tocsin migrate")
