"""`tocsin rebuild`: drop the projections, replay the streams, compare."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from api_gateway import migrations
from api_gateway.rebuild import RebuildReport
from api_gateway.rebuild import rebuild as rebuild_projections
from tocsin.console import EXIT_FAILED, err, out, run
from tocsin.options import (
    DEFAULT_DATA_DIR,
    ConfigOption,
    DataDirOption,
    NatsOption,
    PostgresOption,
    Target,
    target,
)
from tocsin.servers import connected, join_or_start


def rebuild(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
    postgres_url: PostgresOption = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Rebuild even if old messages expired; their rows are gone then.")
    ] = False,
) -> None:
    """Empty every projected table, replay the streams into them, and compare the rows before and after.

    The streams hold the truth and the database only what follows from them: this proves it, and repairs a database
    that was damaged or restored from an old copy. Stop `tocsin up` (or the API gateway) first: two writers would
    disturb each other, and the command refuses.

    Example: `tocsin rebuild`

    What happens next: a table of rows before and after; exit code 0 when every table is equal, 1 when one differs.
    An interrupted rebuild is completed by the gateway's next start, or by another rebuild.
    """
    report, seconds = run(_rebuild(target(data_dir, config, nats, postgres_url), allow_loss))
    _print(report, seconds)
    if not report.equal:
        raise typer.Exit(EXIT_FAILED)


async def _rebuild(where: Target, allow_loss: bool) -> tuple[RebuildReport, float]:
    started = time.monotonic()
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with join_or_start(where, "rebuild") as found, connected(found, "rebuild") as bus:
        url = found.postgres_url.get_secret_value()
        await migrations.apply(url)
        with Progress(*columns, console=err) as bars:
            shown: dict[str, TaskID] = {}

            def progress(stream: str, reached: int, end: int) -> None:
                task = shown.setdefault(stream, TaskID(-1))
                if task == -1:
                    task = shown[stream] = bars.add_task(stream.lower(), total=end)
                bars.update(task, completed=reached)

            report = await rebuild_projections(bus, url, progress=progress, allow_loss=allow_loss)
    return report, time.monotonic() - started


def _print(report: RebuildReport, seconds: float) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("table")
    table.add_column("rows before", justify="right")
    table.add_column("rows after", justify="right")
    table.add_column("")
    for name, both in report.tables.items():
        verdict = "[green]equal[/]" if both.equal else "[bold red]different[/]"
        table.add_row(name, f"{both.before.rows:,}", f"{both.after.rows:,}", verdict)
    out.print(table)
    skipped = sum(report.skipped.values())
    note = f", {skipped:,} skipped (their dead letters say why)" if skipped else ""
    out.print(f"{sum(report.messages.values()):,} messages replayed in {seconds:.1f} s{note}")
    verdict = (
        "[bold green]every row is the same[/]" if report.equal else "[bold red]rows differ; the streams are right[/]"
    )
    out.print(verdict)
