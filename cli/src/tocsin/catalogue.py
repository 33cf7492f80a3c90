"""The list of commands. What a command needs is imported when it is called, not to list it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

SUMMARIES = {
    "up": "Start everything: NATS, PostgreSQL and the five services, and show what happens.",
    "replay": "Replay recorded trades or candles through the whole system, and count what came of them.",
    "download": "Download candles of the past into parquet files, one per symbol and timeframe.",
    "signals": "Evaluate recorded candles without any server: every signal the strategies give.",
    "parity": "Prove that the live signals are those that all of history gives.",
    "report": "Print the report on a week or a day: results, strategies, symbols, hours, alerts and portfolios.",
    "audit": "Prove that nothing was lost and nothing happened twice.",
    "rebuild": "Empty every projected table, replay the streams into them, and compare the rows before and after.",
    "doctor": "Check what the system needs: configuration, disk, servers, streams, migrations, clocks, credentials.",
    "migrate": "Apply the database migrations that are still missing.",
    "seed": "Put the subscribers, rules, silences and portfolios of the configuration's section `seed` into NATS.",
    "push-keys": "Make a pair of keys for web push (VAPID) and print it, once.",
    "check": "Check that strategies are honest, on candle files, without any server.",
    "streams": "Make the NATS server match the declared streams, or show them.",
    "alerts": "Rules, subscribers, silences, tests, the log of deliveries, and why somebody got an alert or not.",
    "keys": "Make, list and revoke API keys.",
}
"""What each command says of itself first."""


class Catalogue(TyperGroup):
    """Lists the commands, and loads the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in SUMMARIES.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Any:
    """Import a command from the module of its name: the group `app`, or the function that is called like its module.

    Returns it as Typer runs it; what that is Typer keeps to itself.
    """
    word = name.replace("-", "_")
    module, only = import_module(f"tocsin.commands.{word}"), typer.Typer(rich_markup_mode="markdown")
    if hasattr(module, "app"):
        only.add_typer(module.app, name=name)
    else:
        only.command(name)(getattr(module, word))
    return get_group(only).commands[name]
