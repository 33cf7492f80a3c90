"""The page of what strategies said about real months is what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """docs/signals.py, which writes the page."""
    spec = importlib.util.spec_from_file_location("signals_page", DOCS / "signals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks its annotations up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current_in_the_hours_of_the_month(writer: ModuleType, shared_data: Path) -> None:
    month = writer.RECORDS[0]
    expected = list(writer.table(month.candles(), "1h"))
    assert len(expected) > 5
    start = (DOCS / "signals.md").read_text().partition(f"## {month.title}")[2].partition("\n## ")[0]
    found = [line for line in start.splitlines() if line.startswith("| 1h |")]
    assert found == expected, "the strategies changed: run `.venv/bin/python docs/signals.py`"


def test_the_page_has_a_line_of_every_strategy_and_none_is_silent(writer: ModuleType) -> None:
    text = (DOCS / "signals.md").read_text()
    for name in writer.STRATEGIES:
        lines = [line for line in text.splitlines() if f"| `{name}` |" in line]
        assert lines, name
        assert not any(f"| `{name}` | 0 |" in line for line in lines), name


def test_the_pictures_are_there_and_small() -> None:
    text = (DOCS / "signals.md").read_text()
    pictures = [path for path in (DOCS / "pictures").glob("*.png") if f"pictures/{path.name}" in text]
    assert len(pictures) == text.count("](pictures/") == 3
    assert all(path.stat().st_size < 150_000 for path in pictures)
