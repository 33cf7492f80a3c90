"""`tocsin download`: candles of an exchange's past into parquet files."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from market_ingest.columns import Instrument
from market_ingest.config import ExchangeSettings, LiveSettings
from market_ingest.history.download import Downloaded
from market_ingest.history.download import download as download_one
from market_ingest.history.paging import FetchCandles, Key, patiently, settled_ms
from market_ingest.sources.klines import Klines, know_markets
from market_ingest.sources.live.exchange import known_exchanges, open_exchange
from tocsin import market
from tocsin.console import EXIT_FAILED, UsageError, err, out, run, say
from tocsin.interrupt import until_interrupted
from tocsin.moments import moment, moment_ms
from tocsin.options import ConfigOption
from tocsin.settings import DEMO_CONFIG, environment
from tocsin_trading.timeframes import TIMEFRAMES

AT_ONCE = 4
"""Files worked on together: while one waits for an answer others ask; the exchange's rate limit is kept over all."""

NEAR = 5
"""Most names suggested for one that is not known."""


def download(
    exchange: Annotated[str, typer.Option(help="The exchange, by its ccxt id.")],
    symbols: Annotated[str, typer.Option(help="Unified symbols, separated by commas.")],
    since: Annotated[str, typer.Option(help="First day, or moment, UTC: 2024-01-01 or 2024-01-01T12:00.")],
    timeframes: Annotated[str, typer.Option(help=f"Of {', '.join(TIMEFRAMES)}, separated by commas.")] = "1m",
    until: Annotated[str | None, typer.Option(help="Up to this day or moment, exclusive (default: now).")] = None,
    output: Annotated[Path, typer.Option("--out", help="Folder of the files.")] = Path("candles"),
    config: ConfigOption = None,
) -> None:
    """Download candles of the past into parquet files, one per symbol and timeframe.

    A file appears when it is complete. Stopped half way, the same command goes on; with a later --until, or none, it
    adds what is new. The exchange's rate limits are kept. Options for ccxt, such as other addresses, are taken from
    the configuration: `market_ingest.source.exchanges.<id>.options` of a live source.

    Example: `tocsin download --exchange binance --symbols BTC/USDT,ETH/USDT --timeframes 1m,1h --since 2024-01-01`

    What happens next: `tocsin replay candles/*.parquet` runs the market of these files through the whole system.
    Exit code 2: wrong use, and nothing was downloaded.
    """
    finished = run(until_interrupted(_download(exchange, symbols, timeframes, since, until, output, config)))
    if finished is None:
        err.print("Interrupted; the same command goes on from here.")
        raise typer.Exit(EXIT_FAILED)
    for one in finished:
        out.print(_in_words(one))


async def _download(
    exchange: str, symbols: str, timeframes: str, since: str, until: str | None, output: Path, config: Path | None
) -> list[Downloaded]:
    now_ms = time.time_ns() // 1_000_000
    from_ms, to_ms = _range(since, until, now_ms)
    wanted = [Instrument(exchange, symbol) for symbol in market.listed(symbols)]
    names = market.listed(timeframes)
    if not wanted or not names:
        raise UsageError("Give at least one symbol and one timeframe.")
    settings = _settings(exchange, [instrument.symbol for instrument in wanted], config)
    if exchange not in (known := await known_exchanges()):
        raise UsageError(f"{exchange!r} is no exchange that ccxt knows{_near(exchange, known)}.")
    async with _opened(exchange, settings) as client:
        _check(client, exchange, wanted, names)
        keys = [Key(instrument, name) for instrument in wanted for name in names]
        ends_ms = {key: max(key.floor(from_ms), min(to_ms, settled_ms(key, now_ms))) for key in keys}
        return await _with_a_bar(output, Klines({exchange: client}.__getitem__).fetch, from_ms, ends_ms)


async def _with_a_bar(output: Path, fetch: FetchCandles, from_ms: int, ends_ms: dict[Key, int]) -> list[Downloaded]:
    """All files, a few at a time. The bar counts intervals, of all of them together."""
    columns = (BarColumn(30), TextColumn("{task.completed:,.0f} of {task.total:,.0f} candles"), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), TextColumn("{task.description}"), console=err, transient=True
    ) as bar:
        total = sum((end_ms - from_ms) / key.length_ms for key, end_ms in ends_ms.items())
        task, room = bar.add_task("", total=total), asyncio.Semaphore(AT_ONCE)

        def show(key: Key, done_from_ms: int, done_to_ms: int) -> None:
            name = f"{key.instrument.symbol} {key.timeframe}"
            bar.update(task, advance=(done_to_ms - done_from_ms) / key.length_ms, description=name)

        async def one(key: Key) -> Downloaded:
            async with room:
                return await download_one(output, key, fetch, key.floor(from_ms), ends_ms[key], show)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(key)) for key in ends_ms]
    return [task.result() for task in tasks]


@asynccontextmanager
async def _opened(exchange: str, settings: ExchangeSettings) -> AsyncIterator[Any]:
    """A ccxt exchange that knows its markets. Raises Retryable when it does not answer."""
    client = open_exchange(exchange, settings)
    try:
        say(f"asking {exchange} for its markets")
        await patiently(lambda: know_markets(client), exchange)
        yield client
    finally:
        await client.close()


def _settings(exchange: str, symbols: list[str], config: Path | None) -> ExchangeSettings:
    """The exchange's ccxt options in the configuration. Raises UsageError, ConfigError."""
    source = market.configured(environment(config or DEMO_CONFIG, {}))
    configured = source.exchanges.get(exchange) if isinstance(source, LiveSettings) else None
    try:
        return ExchangeSettings(symbols=symbols, options=configured.options if configured else {})
    except ValidationError as error:
        raise UsageError(f"--symbols: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error


def _check(client: Any, exchange: str, wanted: Iterable[Instrument], timeframes: Iterable[str]) -> None:
    """Raises UsageError with the first name the exchange does not know, and names near it."""
    for instrument in wanted:
        if instrument.symbol not in client.markets:
            raise UsageError(f"{exchange} has no {instrument.symbol}{_near(instrument.symbol, client.markets)}.")
    offered = [name for name in TIMEFRAMES if name in (client.timeframes or {})]
    for timeframe in timeframes:
        if timeframe not in offered:
            raise UsageError(
                f"{exchange} has no candles of {timeframe!r} that Tocsin reads; it has {', '.join(offered)}."
            )


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), NEAR)
    return f"; near it: {', '.join(found)}" if found else ""


def _range(since: str, until: str | None, now_ms: int) -> tuple[int, int]:
    from_ms, to_ms = moment_ms("--since", since), now_ms if until is None else moment_ms("--until", until)
    if from_ms >= now_ms:
        raise UsageError(f"--since {since} is in the future.")
    if to_ms <= from_ms:
        raise UsageError(f"--until {until} is not later than --since {since}.")
    return from_ms, to_ms


def _in_words(one: Downloaded) -> str:
    candles, key = one.archive.candles, one.archive.key
    if not len(candles):
        return f"{key.instrument.symbol} {key.timeframe}: the exchange has no candles of this time"
    days = [moment(at) for at in candles.open_ms[[0, -1]].tolist()]
    holes = f", {one.archive.holes:,} intervals without one at the exchange" if one.archive.holes else ""
    return f"{one.path}: {len(candles):,} candles ({one.new:,} new) from {days[0]} to {days[1]}{holes}"
