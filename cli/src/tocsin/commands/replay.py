"""`tocsin replay`: recorded markets through the whole system, and what came of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from api_gateway import postgres, schema
from market_ingest.sources.replay import FilesSummary, check_files
from tocsin import market
from tocsin.audit.facts import collect
from tocsin.audit.memory import collector_paused
from tocsin.console import EXIT_FAILED, err, out, run, say
from tocsin.idle import Patience, Progress, look
from tocsin.interrupt import until_interrupted
from tocsin.options import (
    DEFAULT_DATA_DIR,
    ConfigOption,
    DataDirOption,
    NatsOption,
    PostgresOption,
    target,
)
from tocsin.summary import Summary, summarise, table
from tocsin.system import System, running_system
from tocsin_common.bus.protocol import Received
from tocsin_common.errors import Unreachable
from tocsin_common.streams import CANDLES, TRADES, Stream

LOOK_S = 0.2
STALLED_S = 120.0
"""When nothing has moved for this long, nothing is going to."""

EXITS_IN_A_ROW = 5
"""A service that dies this often without recovering is reported instead of restarted for ever."""


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Trade or candle files, parquet or CSV, in any order.")
    ],
    speed: Annotated[
        float, typer.Option(min=0.0, help="Market time per real time, for example 60; 0: as fast as possible.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    nats: NatsOption = None,
    postgres_url: PostgresOption = None,
) -> None:
    """Replay recorded trades or candles through the whole system, and count what came of them.

    All files are read and checked before anything starts, then merged in time order. The command ends when every
    service has settled everything; the same files give the same signals, fills and rows every time. Stopped half
    way, the same command goes on.

    Example: `tocsin replay --data-dir replayed trades.parquet candles.csv`

    What happens next: a summary, counted from the streams and the database. Look closer with `tocsin audit` and
    `tocsin up --source replay` on the same data directory. Exit code 2: a file cannot be read, nothing was started.
    """
    finished = run(until_interrupted(_replay(files, speed, (data_dir, config, nats, postgres_url))))
    if finished is None:
        err.print("Interrupted; the same command goes on from here.")
        raise typer.Exit(EXIT_FAILED)
    if json:
        print(msgspec.json.encode(finished).decode())
    else:
        out.print(table(finished))


async def _replay(
    files: list[Path], speed: float, options: tuple[Path, Path | None, str | None, str | None]
) -> Summary:
    say("checking the files")
    checked = await asyncio.to_thread(check_files, files)
    chosen = market.overrides(market.SourceKind.REPLAY, files, speed=speed)
    where = target(*options, chosen)
    where.check()
    async with running_system("replay", where, say) as system:
        await market.refuse_another_market(system.bus, "replay", checked)
        before = await _positions(system)
        await system.supervisor.start()
        await _until_idle(system, checked, Patience(STALLED_S, while_running=not speed))
        seconds = await _seconds_since_first(system, before)
        say("counting")
        with collector_paused():
            facts = await collect(system.bus)
        return summarise(facts, await _count_rows(system), seconds, trades_before_seq=before[TRADES])


async def _positions(system: System) -> dict[Stream, int]:
    """Where the streams of the market end, before the services start."""
    return {stream: (await system.bus.stream_state(stream)).last_seq for stream in (TRADES, CANDLES)}


async def _until_idle(system: System, checked: FilesSummary, patience: Patience) -> None:
    """Wait, with a bar, until everything is settled. Raises TocsinError with the reason when it never will be."""
    columns = (BarColumn(30), TextColumn("{task.fields[rows]}"), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=checked.rows + 1, rows="")  # the last step: everything settled
        while True:
            system.supervisor.raise_if_hopeless(EXITS_IN_A_ROW)
            progress = await _look(system, checked)
            if progress is not None:
                if progress.idle:
                    return
                patience.check(progress)
                _show(bars, task, progress, checked.rows)
            await asyncio.sleep(LOOK_S)


async def _look(system: System, checked: FilesSummary) -> Progress | None:
    """Where we are; None while the server does not answer (it is restarted, or busy)."""
    try:
        return await look(system.bus, checked.source_id)
    except Unreachable as error:
        err.print(f"[yellow]waiting:[/] {escape(str(error))}")
        return None


def _show(bars: Bars, task: TaskID, progress: Progress, total: int) -> None:
    """How far the files are read, and who is behind: the first in the order of the flow, as the others wait for it."""
    read = progress.market.cursor if progress.market else 0
    behind = f"waiting for {progress.waiting_for.split(', ')[0]}"
    bars.update(task, completed=read, rows=f"{read:,} of {total:,} rows", description=behind)


async def _count_rows(system: System) -> dict[str, int]:
    connection = await postgres.connect(system.servers.postgres_url.get_secret_value())
    try:
        return await schema.row_counts(connection)
    finally:
        await connection.close()


async def _seconds_since_first(system: System, before: dict[Stream, int]) -> float:
    """From the first message of this run until now; 0.0 when it had nothing left to do."""
    now_s = time.time()
    found = [message for stream, seq in before.items() for message in await _next(system, stream, seq)]
    return max(0.0, now_s - min((message.stored_ms / 1000 for message in found), default=now_s))


async def _next(system: System, stream: Stream, after: int) -> list[Received]:
    reader = system.bus.reader(stream, after=after)
    try:
        return await reader.through(after + 1)
    finally:
        await reader.close()
