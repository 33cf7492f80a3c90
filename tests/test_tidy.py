"""The house style, as far as a program can check it: sizes, one-way imports, no leftovers."""

from __future__ import annotations

import ast
import os
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {".git", ".venv", ".tocsin", ".mypy_cache", ".ruff_cache", ".hypothesis", "__pycache__", "results", "secrets"}

MAX_FILE_LINES, MAX_MEDIAN_LINES, MAX_FUNCTION_LINES = 400, 150, 70
MAX_PAUSE_S = 0.1

SOURCE_ROOTS = {
    "tocsin_common": "libs/common/src",
    "tocsin_trading": "libs/trading/src",
    "market_ingest": "services/market-ingest/src",
    "signal_engine": "services/signal-engine/src",
    "alerting": "services/alerting/src",
    "paper_trader": "services/paper-trader/src",
    "api_gateway": "services/api-gateway/src",
    "tocsin": "cli/src",
}
SERVICES = {"market_ingest", "signal_engine", "alerting", "paper_trader", "api_gateway"}
MAY_IMPORT = {
    "tocsin_common": set[str](),
    "tocsin_trading": {"tocsin_common"},
    **{service: {"tocsin_common", "tocsin_trading"} for service in SERVICES},
    "tocsin": SERVICES | {"tocsin_common", "tocsin_trading"},
}
EDGES = {
    "nats": ("tocsin_common/bus/", "tocsin/"),
    "asyncpg": ("api_gateway/", "tocsin/"),
    "ccxt": ("market_ingest/sources/",),
    "fastapi": ("api_gateway/http/", "api_gateway/live.py"),
    "telegram": ("alerting/channels/", "alerting/bot/api.py"),
    "aiosmtplib": ("alerting/channels/", "tocsin/doctor/"),
    "discord_webhook": ("alerting/channels/",),
    "http_ece": ("alerting/channels/",),
    "py_vapid": ("alerting/channels/",),
}
"""Libraries that talk to the outside, and the only places that may import them."""


def files(*suffixes: str) -> list[Path]:
    """Every file of the checkout with one of the suffixes, without what tools leave behind."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = sorted(set(subfolders) - SKIPPED)
        found += [Path(folder, name) for name in names if not suffixes or name.endswith(suffixes)]
    return sorted(found)


@cache
def sources() -> dict[Path, str]:
    """The package of every source file."""
    return {path: package for package, root in SOURCE_ROOTS.items() for path in sorted((ROOT / root).rglob("*.py"))}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree(path)))


def where(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


def suite() -> list[Path]:
    return [path for path in files(".py") if "tests" in path.relative_to(ROOT).parts or path.name == "conftest.py"]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The top-level names a file imports from elsewhere, with the line."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0], node.lineno


def test_source_files_are_short() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in sources()}
    too_long = {where(path): size for path, size in sizes.items() if size > MAX_FILE_LINES}
    assert not too_long
    assert statistics.median(size for size in sizes.values() if size) < MAX_MEDIAN_LINES


def test_functions_fit_on_a_screen() -> None:
    too_long = [
        f"{where(path, node.lineno)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in [*sources(), *suite()]
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not too_long


def test_nothing_is_left_for_later() -> None:
    leftover = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\braise NotImplementedError(\(\))?$")
    found = [
        where(path, number)
        for path in [*sources(), *suite()]
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if leftover.search(line)
    ]
    assert not found


def test_tests_wait_for_conditions_and_never_for_time() -> None:
    """A pause between two looks at a condition is short; one given by a variable must be inside such a loop.

    Simulations in virtual time are free to sleep for hours.
    """
    found = [
        where(path, call.lineno)
        for path in suite()
        if "virtual_time import" not in path.read_text()
        for call, in_loop in calls_of("sleep", tree(path))
        if ((seconds := constant(call)) is None and not in_loop) or (seconds or 0) > MAX_PAUSE_S
    ]
    assert not found


def calls_of(name: str, node: ast.AST, in_loop: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Every call of a function or method, and whether it stands in a while loop."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name:
        yield node, in_loop
    for child in ast.iter_child_nodes(node):
        yield from calls_of(name, child, in_loop or isinstance(node, ast.While))


def constant(call: ast.Call) -> float | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, int | float) else None


def test_packages_import_only_what_is_below_them() -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for path, package in sources().items()
        for name, line in imports(path)
        if name in SOURCE_ROOTS and name != package and name not in MAY_IMPORT[package]
    ]
    assert not wrong


def test_packages_declare_what_they_import_of_ours() -> None:
    distributions = {"tocsin_common": "tocsin-common", "tocsin_trading": "tocsin-trading"}
    distributions |= {service: f"tocsin-{service.replace('_', '-')}" for service in SERVICES}
    missing = []
    for package, root in SOURCE_ROOTS.items():
        declared = (ROOT / root).parent.joinpath("pyproject.toml").read_text()
        used = {name for path, owner in sources().items() if owner == package for name, _ in imports(path)}
        missing += [
            (package, name) for name in used & set(distributions) - {package} if distributions[name] not in declared
        ]
    assert not missing


def test_only_edges_import_the_libraries_that_talk_to_the_outside() -> None:
    wrong = []
    for path, package in sources().items():
        inside = path.relative_to(ROOT / SOURCE_ROOTS[package]).as_posix()
        for name, line in imports(path):
            if name in EDGES and not inside.startswith(EDGES[name]):
                wrong.append(f"{where(path, line)} imports {name}, which belongs in {' or '.join(EDGES[name])}")
    assert not wrong


def test_no_file_names_a_machine_or_an_index() -> None:
    """A file that works only where it was written is wrong everywhere else."""
    machine = re.compile(
        "|".join(["/" + "work/", "/" + "home/", "/" + "root/", "pypi" + "-more", "/sim" + "ple/?['\"\\s]"])
    )
    found = [
        where(path, number)
        for path in files(".py", ".md", ".toml", ".txt", ".in", ".yaml", ".yml", ".sh", ".conf", ".svg", "Makefile")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if machine.search(line)
    ]
    assert not found


def test_names_of_test_files_are_unique() -> None:
    names = [path.name for path in suite() if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
