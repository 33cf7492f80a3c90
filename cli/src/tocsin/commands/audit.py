"""`tocsin audit`: check every invariant between the streams and the database."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from api_gateway import postgres
from tocsin.audit.facts import collect
from tocsin.audit.invariant import Result
from tocsin.audit.memory import collector_paused
from tocsin.audit.projections import Evidence
from tocsin.audit.rows import read_rows
from tocsin.audit.table import check_all
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

SHOWN_EXAMPLES = 3
EVERYTHING_HOLDS = "[bold green]everything holds[/]"


def audit(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
    postgres_url: PostgresOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Prove that nothing was lost and nothing happened twice.

    Reads every stream and every projected row, and checks what must hold between them: ids are unique, trades add up
    to candles, every signal has its row and its outcome, every delivery ends once, every fill has its signal and its
    price, and every portfolio's cash and positions make its equity to the last decimal.

    Works beside a running `tocsin up`, or starts only the servers on the data directory.

    Example: `tocsin audit`

    What happens next: nothing is changed. Exit code 0 when everything holds, 1 with examples of every violation if not.
    """
    report = run(_audit(target(data_dir, config, nats, postgres_url)))
    if json:
        print(msgspec.json.encode(_document(report)).decode())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True)
class Report:
    """What an audit found, without what it read: that may be a gigabyte."""

    results: Sequence[Result]
    messages: Mapping[str, int]
    dead_letters: Mapping[str, int]
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.violated

    @property
    def violated(self) -> int:
        return sum(result.verdict == "violated" for result in self.results)


async def _audit(where: Target) -> Report:
    started = time.monotonic()
    with collector_paused(), err.status("reading", spinner="dots") as status:
        async with join_or_start(where, "audit") as found, connected(found, "audit") as bus:
            status.update("reading the tables")
            connection = await postgres.connect(found.postgres_url.get_secret_value())
            try:
                rows = await read_rows(connection)
            finally:
                await connection.close()
            facts = await collect(bus, lambda stream: status.update(f"reading {stream}"))
        status.update("checking")
        results = check_all(Evidence(facts, rows))
    messages = {name: stream.messages for name, stream in facts.streams.items()}
    dead = {f"{service}: {reason}": count for (service, reason), count in sorted(facts.dead.items())}
    return Report(results, messages, dead, time.monotonic() - started)


def _document(report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "invariants": [asdict(result) for result in report.results],
        "messages": report.messages,
        "dead_letters": report.dead_letters,
        "seconds": round(report.seconds, 3),
    }


def _print(report: Report) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("area", "what must hold", "verdict"):
        table.add_column(column)
    for result in report.results:
        table.add_row(result.area, escape(result.says), _verdict(result))
        for example in result.examples[:SHOWN_EXAMPLES]:
            table.add_row("", f"[dim]{escape(example)}[/]", "")
    out.print(table)
    for name, count in report.dead_letters.items():
        out.print(f"[yellow]note:[/] {count} dead letters of {escape(name)} (stream DEAD)")
    total, streams = sum(report.messages.values()), len(report.messages)
    verdict = f"[bold red]{report.violated} invariants are violated[/]" if report.violated else EVERYTHING_HOLDS
    out.print(f"\n{total:,} messages in {streams} streams, {report.seconds:.1f} s: {verdict}")


def _verdict(result: Result) -> str:
    if result.verdict == "violated":
        return f"[bold red]violated {result.violations:,} times[/]"
    return f"[green]{result.verdict}[/]" if result.verdict == "holds" else f"[yellow]{result.verdict}[/]"
