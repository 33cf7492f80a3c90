"""`tocsin report`: what came of a day's or a week's signals, in the terminal and as a picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
import typer

from alerting.config import Settings as AlertingSettings
from alerting.gateway import Away, Gateway
from alerting.picture.report import draw_report
from alerting.reports.condense import condensed
from alerting.reports.figures import TIMEOUT_S, figures
from alerting.reports.schedule import Due, Schedule
from tocsin.console import UsageError, err, out, run, told
from tocsin.moments import moment_ms
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, Target, target
from tocsin.reported import tables
from tocsin_common.config import load
from tocsin_common.errors import Unreachable
from tocsin_common.events import Language, Period
from tocsin_common.report import Report

REMEDIES = {
    "denied": "give a key with the scope `read` as TOCSIN__ALERTING__API__KEY; `tocsin keys create` makes one",
    "behind": "it has not projected everything yet; try again in a moment",
    "timeout": "it took too long; try again",
    "unreachable": "start it with `tocsin up`, or say where it is with --api",
}


def report(
    weekly: Annotated[
        bool, typer.Option("--weekly", help="Of the last week that is over (this is the default).")
    ] = False,
    daily: Annotated[bool, typer.Option("--daily", help="Of the last day that is over.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As of this time instead of now, UTC: 2024-08-05 or 2024-08-05T12:00."),
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture there as well.")] = None,
    language: Annotated[Language, typer.Option(help="Of the picture's words: en or id.")] = "en",
    json: Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON instead of tables.")] = False,
    api: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask this API; else that of a running `tocsin up`, or the configured one."),
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
) -> None:
    """Print the report on a week or a day: results, strategies, symbols, hours, alerts and portfolios.

    The figures are those of the HTTP API, and the same that subscribers get who ask for reports. Days and weeks are
    those of the configured zone (`alerting.reports`). A strategy, symbol or hour with few outcomes is not compared.

    Examples:

    `tocsin report --weekly`

    `tocsin report --daily --at 2024-08-09 --png thursday.png`

    What happens next: nothing is stored or sent. `docs/reports.md` says how to read the figures; subscribers with
    `reports: [weekly]` get them by themselves. Exit code 1: the API cannot be asked. Exit code 2: wrong use.
    """
    with told():
        if weekly and daily:
            raise UsageError("--weekly and --daily exclude each other.")
        where = target(data_dir, config)
        settings = load(AlertingSettings, environ=where.environment)
        section = settings.alerting.reports
        period: Period = "daily" if daily else "weekly"
        now_ms = time.time_ns() // 1_000_000 if at is None else moment_ms("--at", at)
        due = Schedule(period, ZoneInfo(section.zone), 0, section.weekday).last(now_ms)
    found = run(_ask(where, settings, api, due))
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        for table in tables(condensed(found, due)):
            out.print(table)
    if png is not None:
        _write(png, draw_report(condensed(found, due), settings.alerting.picture.theme, language))


async def _ask(where: Target, settings: AlertingSettings, api: str | None, due: Due) -> Report:
    """Raises Unreachable, naming the API and what to do."""
    running = where.data_dir.running()
    section = settings.alerting.api
    url = api or (running.api_url if running else "") or section.url
    gateway = Gateway.of(section.model_copy(update={"url": url}), timeout_s=TIMEOUT_S)
    try:
        return await figures(gateway, due, min_count=settings.alerting.reports.min_count)
    except Away as error:
        remedy = REMEDIES.get(error.reason, f"its answer cannot be used ({error.reason})")
        raise Unreachable(f"The API at {url} gives no report: {remedy}.") from error
    finally:
        await gateway.close()


def _write(path: Path, picture: bytes) -> None:
    with told():
        try:
            path.write_bytes(picture)
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({error.strerror}).") from error
    err.print(f"The picture is in {path}.")
