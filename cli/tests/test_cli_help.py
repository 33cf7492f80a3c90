"""Every command teaches: what it does, an example, and what happens next."""

from __future__ import annotations

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


@pytest.mark.parametrize("group", ["", "check", "streams", "keys"])
def test_a_group_lists_its_commands(group: str) -> None:
    result = CliRunner().invoke(app, [*group.split(), "--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        head, _, tail = command.rpartition(" ")
        if head == group:
            assert tail in result.output


def test_every_command_is_in_this_list() -> None:
    root = typer.main.get_command(app)
    names = []
    for name, command in root.commands.items():  # type: ignore[attr-defined] # a group has commands
        names += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    assert sorted(names) == sorted(COMMANDS)
