"""Every command teaches: what it does, an example, and what happens next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tocsin.__main__ import app

COMMANDS = [
    "up",
    "replay",
    "download",
    "signals",
    "check lookahead",
    "check warmup",
    "parity",
    "report",
    "audit",
    "rebuild",
    "doctor",
    "migrate",
    "seed",
    "streams apply",
    "streams show",
    "keys create",
    "keys list",
    "keys revoke",
    "push-keys",
    *(
        f"alerts {group} {command}"
        for group in ("rules", "subscribers")
        for command in ("list", "show", "put", "delete")
    ),
    *(f"alerts silence {command}" for command in ("add", "list", "end")),
    *(f"alerts {command}" for command in ("verify", "test", "log", "why")),
]

WORKS_ON = {
    "download": "--out",
    "signals": "--from",
    "check lookahead": "--from",
    "check warmup": "--from",
    "push-keys": "Nothing is stored",
}
"""What says what a command works on, where it is not a data directory."""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=120)
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert "What happens next" in result.output
    assert WORKS_ON.get(command, "--data-dir") in result.output


@pytest.mark.parametrize(
    "group", ["", "check", "streams", "keys", "alerts", "alerts rules", "alerts subscribers", "alerts silence"]
)
def test_a_group_lists_its_commands(group: str) -> None:
    result = CliRunner().invoke(app, [*group.split(), "--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        head, _, tail = command.rpartition(" ")
        if head == group:
            assert tail in result.output


def test_every_command_is_in_this_list() -> None:
    assert sorted(every(typer.main.get_command(app))) == sorted(COMMANDS)


def every(command: Any, path: str = "") -> Iterator[str]:
    """The paths of all commands in a group."""
    if not hasattr(command, "commands"):
        yield path.strip()
        return
    for name, inside in command.commands.items():
        yield from every(inside, f"{path} {name}")


@pytest.mark.parametrize("module", ["tocsin.__main__", "market_ingest.__main__"])
def test_who_asks_no_exchange_does_not_wait_for_all_of_ccxt(module: str) -> None:
    """Its import takes seconds and 50 MB."""
    program = f"import sys, {module}; sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
