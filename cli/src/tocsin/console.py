"""What a person sees: two consoles, the exit codes, and errors as sentences."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from tocsin_common.errors import ConfigError, TocsinError

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
"""0: done. 1: a failure, or a check that found something. 2: wrong use or wrong input; nothing was started."""

out = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
err = Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)

T = TypeVar("T")


class UsageError(TocsinError):
    """The command was used wrongly, or its input is wrong; nothing was started."""

    exit_code = EXIT_USAGE


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; every error of ours ends it with one sentence and its exit code."""
    with told():
        return asyncio.run(work)
    raise AssertionError("told() either lets the result through or raises")


@contextmanager
def told() -> Iterator[None]:
    """Errors of ours become sentences and an exit code."""
    try:
        yield
    except (TocsinError, ExceptionGroup) as error:
        fail(error)


def say(step: str) -> None:
    """Tell what is going on, beside the command's own output."""
    err.print(f"[dim]{escape(step)}[/]")


def fail(error: BaseException) -> NoReturn:
    """Print what went wrong and leave with the matching exit code. A bug keeps its traceback."""
    errors = _leaves(error)
    if bug := next((leaf for leaf in errors if not isinstance(leaf, TocsinError)), None):
        raise bug
    for leaf in errors:
        for sentence in leaf.problems if isinstance(leaf, ConfigError) else [str(leaf)]:
            err.print(f"[bold red]tocsin:[/] {escape(sentence)}")
    raise typer.Exit(max(leaf.exit_code for leaf in errors if isinstance(leaf, TocsinError))) from None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
