"""The `tocsin` command: wiring only."""

from __future__ import annotations

import typer

from tocsin.catalogue import Catalogue
from tocsin_common import logs

app = typer.Typer(
    cls=Catalogue,
    callback=lambda: None,  # without one, or commands of its own, Typer makes no group
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # locals may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tocsin watches crypto markets and rings when something happens. Start with `tocsin up`.",
)


def main() -> None:
    """Run the command. What the libraries have to say goes to stderr: stdout belongs to the result."""
    logs.configure("tocsin", level="error", json=False)
    app()


if __name__ == "__main__":
    main()
