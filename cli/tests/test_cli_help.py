"""Every command teaches: what it does, an example, and what happens next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tocsin.__main__ import app
from tocsin.catalogue import SUMMARIES, load

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
    assert sorted(path for name in SUMMARIES for path in every(load(name), name)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_command_is_listed_with_what_it_says_of_itself_first(name: str) -> None:
    first, *_ = load(name).help.split("\n\n")
    assert " ".join(first.split()) == SUMMARIES[name]


def test_a_misspelt_command_is_named_and_the_right_one_suggested() -> None:
    result = CliRunner().invoke(app, ["repaly"])
    assert result.exit_code == 2
    assert "Did you mean 'replay'?" in " ".join(result.output.split())


def every(command: Any, path: str = "") -> Iterator[str]:
    """The paths of all commands in a group."""
    if not hasattr(command, "commands"):
        yield path.strip()
        return
    for name, inside in command.commands.items():
        yield from every(inside, f"{path} {name}")


def leaves_out(program: str, *modules: str) -> bool:
    """Whether a program of its own does without modules that take long to import."""
    asked = f"{program}; import sys; sys.exit(any(name in sys.modules for name in {modules}))"
    return subprocess.run([sys.executable, "-c", asked], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_to_list_the_commands_none_of_them_is_imported() -> None:
    listing = "from typer.testing import CliRunner; from tocsin.__main__ import app; CliRunner().invoke(app, '--help')"
    assert leaves_out(listing, "polars", "nats", "asyncpg", "tocsin.commands.up")


@pytest.mark.parametrize(
    "program",
    [
        "from tocsin.catalogue import SUMMARIES, load; [load(name) for name in SUMMARIES]",
        "import market_ingest.__main__",
    ],
)
def test_who_asks_no_exchange_does_not_wait_for_all_of_ccxt(program: str) -> None:
    """Its import takes seconds and 50 MB."""
    assert leaves_out(program, "ccxt")
