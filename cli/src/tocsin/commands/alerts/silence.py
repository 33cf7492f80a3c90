"""`tocsin alerts silence`: no alerts of something for a while."""

from __future__ import annotations

import getpass
import re
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.commands.alerts.asking import ACTOR, ask, every, one
from tocsin.commands.alerts.documents import JsonOption, print_json
from tocsin.commands.alerts.tables import show, table_of
from tocsin.console import UsageError, out, run, told
from tocsin.moments import moment, moment_ms
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import bus_for
from tocsin_common.bus.protocol import Bus
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import Shown

UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?")

app = typer.Typer(no_args_is_help=True, help="Silence alerts for a while, see what is silenced, and end it.")


def _matcher(name: str, what: str) -> Any:
    return typer.Option(f"--{name}", metavar=name.upper(), help=f"Only {what}. May be given several times.")


@app.command()
def add(
    length: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long: `2h`, `30m`, `1d12h`.")],
    rules: Annotated[list[str] | None, _matcher("rule", "alerts of this rule")] = None,
    subscribers: Annotated[list[str] | None, _matcher("subscriber", "for this subscriber")] = None,
    exchanges: Annotated[list[str] | None, _matcher("exchange", "on this exchange")] = None,
    symbols: Annotated[list[str] | None, _matcher("symbol", "on this symbol")] = None,
    strategies: Annotated[list[str] | None, _matcher("strategy", "of this strategy")] = None,
    severities: Annotated[list[str] | None, _matcher("severity", "of this severity")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Silence all alerts there are.")] = False,
    comment: Annotated[str, typer.Option(help="Why, for those who wonder.")] = "",
    begin: Annotated[
        str | None, typer.Option("--from", metavar="MOMENT", help="When it begins; now if left out.")
    ] = None,
    silence_id: Annotated[
        str | None, typer.Option("--id", help="Its id; made of your name and the time if left out.")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Silence alerts for a while. What is given must all match; several values of one option are alternatives.

    Times are those of the market: in a replay, give `--from`.

    Example: `tocsin alerts silence add --for 2h --exchange binance --severity info --comment 'announced upkeep'`

    What happens next: what it matches is stated as suppressed with the silence's id, and nobody is told.
    `tocsin alerts silence end ID` ends it before its time.
    """
    named = {"rules": rules, "subscribers": subscribers, "exchanges": exchanges}
    named |= {"symbols": symbols, "strategies": strategies, "severities": severities}
    matchers = {name: values for name, values in named.items() if values}
    with told():
        if bool(matchers) == everything:
            raise UsageError("Say what to silence (`--symbol BTC/USDT`, `--rule ID` ...), or `--everything`.")
        starts_ms = moment_ms("--from", begin) if begin else time.time_ns() // 1_000_000
        ends_ms = starts_ms + duration_ms(length)
    author = getpass.getuser()
    name = silence_id or f"{author}-{starts_ms}"
    document = {"starts_ms": starts_ms, "ends_ms": ends_ms, "author": author, "comment": comment, **matchers}
    made = run(_put(target(data_dir, config, nats), name, document))
    out.print(f"silenced until {moment(ends_ms)} UTC: {escape(made.id)}")


@app.command("list")
def list_silences(
    past: Annotated[bool, typer.Option("--past", help="Also those that are over.")] = False,
    json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """List the silences that are in force or still to come.

    Example: `tocsin alerts silence list`

    What happens next: nothing is changed; `tocsin alerts silence end ID` ends one.
    """
    now_ms = time.time_ns() // 1_000_000
    found = run(_all(target(data_dir, config, nats)))
    shown = [silence for silence in found if past or silence.document["ends_ms"] > now_ms]
    if json:
        print_json(shown)
    elif shown:
        show(table_of("silence", shown))
    else:
        out.print("Nothing is silenced." if past or not found else "Nothing is silenced now; --past shows what was.")


@app.command()
def end(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="The silence's id, as `list` shows it.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """End a silence now. One that has not begun is deleted; any other stays on record, with its new end.

    Example: `tocsin alerts silence end ann-1767225600000`

    What happens next: alerts of it go out again at once. What was suppressed is not sent afterwards.
    """
    run(_end(target(data_dir, config, nats), silence_id))
    out.print(f"ended {escape(silence_id)}")


def duration_ms(text: str) -> int:
    """Milliseconds of `2h`, `30m`, `1d12h`. Raises UsageError."""
    found = _DURATION.fullmatch(text)
    seconds = (
        sum(int(number) * unit for number, unit in zip(found.groups("0"), UNITS_S.values(), strict=True))
        if found
        else 0
    )
    if not seconds:
        raise UsageError(f"--for {text!r} is no duration, such as 2h, 30m or 1d12h.")
    return seconds * 1000


async def _put(where: Target, silence_id: str, document: dict[str, Any]) -> Shown:
    async with bus_for(where, "alerts silence add") as bus:
        return await _write(bus, silence_id, document, 0)


async def _write(bus: Bus, silence_id: str, document: dict[str, Any], revision: int) -> Shown:
    question = asked.PutRequest(actor=ACTOR, kind="silence", id=silence_id, document=document, revision=revision)
    return await ask(bus, asked.PUT, question)


async def _all(where: Target) -> list[Shown]:
    async with bus_for(where, "alerts silence list") as bus:
        return [silence async for silence in every(bus, "silence")]


async def _end(where: Target, silence_id: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with bus_for(where, "alerts silence end") as bus:
        found = await one(bus, "silence", silence_id)
        if found.document["ends_ms"] <= now_ms:
            raise UsageError(f"The silence {silence_id!r} is over since {moment(found.document['ends_ms'])} UTC.")
        if found.document["starts_ms"] >= now_ms:
            question = asked.DeleteRequest(actor=ACTOR, kind="silence", id=silence_id, revision=found.revision)
            await ask(bus, asked.DELETE, question)
        else:
            await _write(bus, silence_id, found.document | {"ends_ms": now_ms}, found.revision)
