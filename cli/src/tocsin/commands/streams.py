"""`tocsin streams`: make the NATS server match the declared streams, or show them."""

from __future__ import annotations

import typer
from rich.table import Table

from tocsin.console import EXIT_FAILED, out, run
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import NATS, dialled, join_or_start
from tocsin_common.bus import provision
from tocsin_common.bus.provision import Applied, Shown

app = typer.Typer(no_args_is_help=True, help="Make the NATS server match the declared streams, or show them.")


@app.command()
def apply(data_dir: DataDirOption = DEFAULT_DATA_DIR, config: ConfigOption = None, nats: NatsOption = None) -> None:
    """Create or adjust every stream, bucket and durable consumer on the server.

    They are declared in one place in the code; nothing else ever creates them. Applying twice changes nothing, and
    no stored message is removed. `tocsin up` does this by itself: run it by hand after an upgrade of a deployment
    with its own NATS server.

    Example: `tocsin streams apply --nats nats://nats.example.org:4222`

    What happens next: services that waited for a missing stream go on within seconds.
    """
    done = run(_apply(target(data_dir, config, nats)))
    for thing in done:
        if thing.action != "unchanged":
            out.print(f"{thing.action} {thing.kind} {thing.name} {', '.join(thing.changed)}")
    unchanged = sum(thing.action == "unchanged" for thing in done)
    out.print(f"{len(done)} declared, {unchanged} were right already.")


@app.command()
def show(data_dir: DataDirOption = DEFAULT_DATA_DIR, config: ConfigOption = None, nats: NatsOption = None) -> None:
    """Show every stream, bucket and durable on the server: messages, bytes, lag, and what differs from the code.

    Example: `tocsin streams show`

    What happens next: nothing is changed. Exit code 1 when something is missing or different; `tocsin streams apply`
    mends that.
    """
    shown = run(_show(target(data_dir, config, nats)))
    out.print(_table(shown))
    if not all(thing.exists and not thing.differs for thing in shown):
        raise typer.Exit(EXIT_FAILED)


async def _apply(where: Target) -> list[Applied]:
    async with join_or_start(where, "streams apply", NATS) as found, dialled(found, "streams") as connection:
        return await provision.apply(connection, provision.declared(found.nats.replicas))


async def _show(where: Target) -> list[Shown]:
    async with join_or_start(where, "streams show", NATS) as found, dialled(found, "streams") as connection:
        return await provision.show(connection, provision.declared(found.nats.replicas))


def _table(shown: list[Shown]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("name")
    for column in ("messages", "bytes", "first", "last", "pending", "unsettled"):
        table.add_column(column, justify="right")
    table.add_column("as declared")
    for thing in shown:
        sizes = (thing.messages, thing.bytes, thing.first_seq, thing.last_seq)
        lags = (thing.pending, thing.ack_pending)
        is_durable = thing.kind == "durable"
        table.add_row(
            thing.kind,
            thing.name,
            *("" if is_durable else f"{number:,}" for number in sizes),
            *(f"{number:,}" if is_durable else "" for number in lags),
            _verdict(thing),
        )
    return table


def _verdict(thing: Shown) -> str:
    if not thing.exists:
        return "[bold red]missing[/]"
    return f"[yellow]differs: {', '.join(thing.differs)}[/]" if thing.differs else "[green]yes[/]"
