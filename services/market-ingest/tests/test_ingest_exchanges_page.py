"""docs/exchanges.md says what the code assumes, and names only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.recorded import SESSIONS

from market_ingest.sources.live.venues import Venue, declared, venue_of

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/exchanges.md").read_text()
TESTS = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("*/*/tests/test_*.py")]


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose first column has this name, without marks of code."""
    table = PAGE.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0]
    lines = table.splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def as_on_the_page(venue: Venue) -> list[str]:
    found = "by id" if venue.ids == "contiguous" else "by overlap"
    return [venue.ids, found, venue.paging, str(venue.page), str(venue.symbols_per_connection), venue.method]


def test_the_page_says_of_each_exchange_what_the_live_source_assumes() -> None:
    assumed = {key: as_on_the_page(venue) for key, venue in declared().items()}
    assumed["any other", "any"] = as_on_the_page(venue_of("another", {"spot": True}))
    said = {(exchange, kind): cells[:6] for exchange, kind, *cells in rows("exchange | market")}
    assert said == assumed


def test_the_page_lists_every_recorded_session() -> None:
    assert [cells[0] for cells in rows("session")] == list(SESSIONS)


def test_the_page_names_only_tests_that_exist() -> None:
    defined = {
        name for file in TESTS for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= defined


def test_every_source_of_a_cell_is_given() -> None:
    cited = set(re.findall(r"\[(\w)\]", PAGE))
    given = set(re.findall(r"^(\d)\. ", PAGE, re.MULTILINE)) | set(re.findall(r"^- ([a-z]): ", PAGE, re.MULTILINE))
    assert cited == given
