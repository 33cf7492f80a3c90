"""The `tocsin` command: wiring only."""

from __future__ import annotations

import typer

from tocsin.commands import (
    alerts,
    audit,
    check,
    doctor,
    download,
    keys,
    migrate,
    parity,
    push_keys,
    rebuild,
    replay,
    report,
    seed,
    signals,
    streams,
    up,
)
from tocsin_common import logs

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # locals may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tocsin watches crypto markets and rings when something happens. Start with `tocsin up`.",
)
app.command()(up.up)
app.command()(replay.replay)
app.command()(download.download)
app.command()(signals.signals)
app.command()(parity.parity)
app.command()(report.report)
app.command()(audit.audit)
app.command()(rebuild.rebuild)
app.command()(doctor.doctor)
app.command()(migrate.migrate)
app.command()(seed.seed)
app.command()(push_keys.push_keys)
app.add_typer(check.app, name="check")
app.add_typer(streams.app, name="streams")
app.add_typer(alerts.app, name="alerts")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command. What the libraries have to say goes to stderr: stdout belongs to the result."""
    logs.configure("tocsin", level="error", json=False)
    app()


if __name__ == "__main__":
    main()
