"""`tocsin up`: the whole system in one command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from rich.live import Live

from api_gateway import postgres
from market_ingest.sources.replay import check_files
from tocsin import market
from tocsin.console import err, out, run, say, told
from tocsin.interrupt import until_interrupted
from tocsin.options import (
    DEFAULT_DATA_DIR,
    ConfigOption,
    DataDirOption,
    NatsOption,
    PostgresOption,
    Target,
    target,
)
from tocsin.status import HEALTH_TIMEOUT_S, Watcher
from tocsin.system import System, running_system
from tocsin.view import About, draw, line
from tocsin_common.bus.connection import without_credentials

REFRESH_S = 1.0
LINE_EVERY = 10
"""Without a terminal one line is printed per this many refreshes."""


def up(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="With --source replay: trade or candle files.")
    ] = None,
    source: Annotated[
        market.SourceKind | None,
        typer.Option(help="Where the market comes from, instead of what is configured (by default the simulator)."),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.0, help="Market time per real time; 0: as fast as possible.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Simulator: the same seed gives the same market.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Live: ccxt exchange names, separated by commas.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Live and simulator: ccxt symbols, separated by commas.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    nats: NatsOption = None,
    postgres_url: PostgresOption = None,
) -> None:
    """Start everything: NATS, PostgreSQL and the five services, and show what happens.

    Without options a market is simulated at 60 times real speed, so that signals, alerts and fills appear within a
    minute. Servers are embedded unless their URL is given. Everything is kept in the data directory: the next start
    goes on where this one stopped.

    Examples:

    `tocsin up`

    `tocsin up --source live --exchange binance --symbols BTC/USDT,ETH/USDT --data-dir live`

    `tocsin up --source replay --speed 60 --data-dir replayed trades.parquet`

    What happens next: you see every service, the flow through the streams, and the latest signals, alerts and fills;
    the API answers at the address shown. Ctrl-C stops every process within ten seconds. Services log to the folder
    `logs` of the data directory.
    """
    with told():
        chosen = market.overrides(source, files or [], speed=speed, seed=seed, exchange=exchange, symbols=symbols)
    where = target(data_dir, config, nats, postgres_url, chosen)
    run(until_interrupted(_up(where)))
    err.print(f"Stopped. The data is kept in {data_dir}: the next start goes on from there.")


async def _up(where: Target) -> None:
    where.check()
    source = market.configured(where.environment)
    files = await asyncio.to_thread(check_files, source.files) if source.kind == "replay" else None
    async with running_system("up", where, say) as system:
        await market.refuse_another_market(system.bus, source.kind, files)
        await system.supervisor.start()
        if kept := [name for name, result in system.seeds.items() if result == "kept"]:
            say(f"changed or deleted since they were seeded, and left so: {', '.join(kept)}")
        about = About(
            source=market.in_words(source),
            api_url=system.api_url,
            data_dir=str(where.data_dir.path),
            nats=without_credentials(system.servers.nats.url),
            postgres=postgres.shown(system.servers.postgres_url.get_secret_value()),
        )
        await _watch(system, about)


async def _watch(system: System, about: About) -> None:
    """Show the system until interrupted. Raises TocsinError when a service refuses its configuration."""
    watcher = Watcher(system.bus, system.supervisor, system.servers.embedded)
    timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        if out.is_terminal:
            await _draw(system, about, watcher, session)
        else:
            await _print_lines(system, about, watcher, session)


async def _draw(system: System, about: About, watcher: Watcher, session: aiohttp.ClientSession) -> None:
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            status = await watcher.refresh(session)
            live.update(draw(about, status, out.height), refresh=True)
            system.supervisor.raise_if_hopeless()
            await asyncio.sleep(REFRESH_S)


async def _print_lines(system: System, about: About, watcher: Watcher, session: aiohttp.ClientSession) -> None:
    out.print(f"API {about.api_url}/api/v1/signals, NATS {about.nats}, {about.postgres}, logs in {about.data_dir}/logs")
    count = 0
    while True:
        status = await watcher.refresh(session)
        if count % LINE_EVERY == 0:
            out.print(line(status))
        system.supervisor.raise_if_hopeless()
        count += 1
        await asyncio.sleep(REFRESH_S)
