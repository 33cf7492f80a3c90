"""`tocsin migrate`: bring the database's tables up to date."""

from __future__ import annotations

from api_gateway import migrations, postgres
from tocsin.console import out, run
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, PostgresOption, Target, target
from tocsin.servers import POSTGRES, join_or_start


def migrate(
    data_dir: DataDirOption = DEFAULT_DATA_DIR, config: ConfigOption = None, postgres_url: PostgresOption = None
) -> None:
    """Apply the database migrations that are still missing.

    Each file runs once, in its own transaction, under a lock: running this from several places at once is safe.
    `tocsin up` does it by itself; run it by hand before a new version in a deployment with its own PostgreSQL.

    Example: `TOCSIN__POSTGRES__URL=postgresql://user@db/tocsin tocsin migrate`

    What happens next: the API gateway, which waited for its tables, becomes ready and projects what it missed.
    """
    run(_migrate(target(data_dir, config, None, postgres_url)))


async def _migrate(where: Target) -> None:
    async with join_or_start(where, "migrate", POSTGRES) as found:
        url = found.postgres_url.get_secret_value()
        applied = await migrations.apply(url)
    for name in applied:
        out.print(f"applied {name}")
    total = len(migrations.declared())
    out.print(f"{postgres.shown(url)}: {total} migrations, all applied." if applied else "Nothing to do: up to date.")
