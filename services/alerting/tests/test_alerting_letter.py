"""The page of a mail: whatever is said shows as text, parts that are empty are not there, nothing is loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from alerting.channels import Message
from alerting.channels.letter import PICTURE_ID, page, plain
from alerting.channels.text import one_line, shown
from alerting.words.voice import Voice


class Reader(HTMLParser):
    """What a mail program would show, and what tags it met."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown.append(data.strip())


def message(
    title: str = "Long", text: str = "", fields: dict[str, str] | None = None, picture: bytes | None = None
) -> Message:
    return Message("d" * 26, "a" * 26, title, text, fields or {}, 1_723_161_300_000, picture)


anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=50).map(str.strip).filter(bool)


@given(title=anything, text=anything, name=anything, value=anything)
def test_whatever_is_said_shows_as_text(title: str, text: str, name: str, value: str) -> None:
    usual = Reader(page(message("t", "t", {"n": "v"}))).tags
    hostile = Reader(page(message(title, f"<b>{text}</b>", {name: f"</td><script>{value}"})))
    assert hostile.tags == usual
    assert {line.strip() for line in shown(f"<b>{text}</b>").splitlines()} <= {*hostile.shown, ""}
    assert one_line(f"</td><script>{value}") in hostile.shown


def test_all_that_a_letter_adds_is_in_its_readers_language() -> None:
    spoken = replace(message(), title="", voice=Voice("id", "Asia/Jakarta"))
    reader = Reader(page(spoken))
    assert [said for said in reader.shown if said][-3:] == ["TOCSIN", "2024-08-09 06:55 WIB", "Peringatan " + "a" * 26]
    assert '<html lang="id">' in page(spoken)


def test_what_there_is_not_takes_no_room() -> None:
    bare = page(message())
    assert "<img" not in bare
    assert "<th" not in bare
    assert bare.count("<p") == 0
    assert "$" not in bare


def test_only_its_own_picture_is_shown_and_nothing_is_loaded() -> None:
    shown = page(message(text="Look at https://example.org/x.png", fields={"a": "b"}, picture=b"PNG"))
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*\"?([^\")]*)", shown) == [f"cid:{PICTURE_ID}"]


def test_the_text_part_has_the_fields_in_a_column() -> None:
    assert plain(message(text="Up.", fields={"Entry": "1", "Stop loss": "2"})) == "Up.\n\nEntry:     1\nStop loss: 2\n"
