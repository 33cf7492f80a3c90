"""What a person sees of a message that a channel's server accepted, read as its programs read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from html.parser import HTMLParser
from typing import NamedTuple

from tests.channels.discord import unescaped
from tests.channels.record import Accepted
from tests.channels.smtp import plain
from tests.channels.telegram import parse


class Seen(NamedTuple):
    """Title, text, and fields by their labels."""

    title: str
    text: str
    fields: dict[str, str]


def in_telegram(accepted: Accepted, _labels: Iterable[str]) -> Iterator[Seen]:
    said = parse(accepted.raw.get("text") or accepted.raw["caption"], "HTML")
    title, *labels = said.bold
    text, fields = said.text.removeprefix(title), dict[str, str]()
    for label in reversed(labels):
        text, _, fields[label] = text.rpartition(f"\n{label}: ")
    yield Seen(title, text.strip(), dict(reversed(fields.items())))


def in_discord(accepted: Accepted, _labels: Iterable[str]) -> Iterator[Seen]:
    [embed] = accepted.raw["embeds"]
    fields = {unescaped(field["name"]): unescaped(field["value"]) for field in embed["fields"]}
    yield Seen(unescaped(embed["title"]), unescaped(embed.get("description") or ""), fields)


def in_a_mail(accepted: Accepted, labels: Iterable[str]) -> Iterator[Seen]:
    """Once as text, once as a page."""
    mail = accepted.raw
    yield Seen(mail["Subject"], *_text_and_fields(plain(mail).replace("\r\n", "\n"), labels))
    html = mail.get_body(("html",))
    cells = _Cells(html.get_content()).cells
    assert [tag for tag, _ in cells[:3]] == ["td", "td", "h1"]
    names = [number for number, (tag, _) in enumerate(cells) if tag == "th"]
    text = cells[3][1] if names[:1] != [3] else ""
    yield Seen(cells[2][1], text, {cells[number][1]: cells[number + 1][1] for number in names})


def in_ntfy(accepted: Accepted, labels: Iterable[str]) -> Iterator[Seen]:
    yield Seen(accepted.raw["title"], *_text_and_fields(accepted.raw["message"], labels))


def in_a_webhook(accepted: Accepted, _labels: Iterable[str]) -> Iterator[Seen]:
    data = accepted.raw["data"]
    yield Seen(data["title"], data["text"], data["fields"])


def in_a_browser(accepted: Accepted, _labels: Iterable[str]) -> Iterator[Seen]:
    yield Seen(accepted.raw["title"], accepted.raw["body"], accepted.raw["fields"])


SEEN: Mapping[str, Callable[[Accepted, Iterable[str]], Iterator[Seen]]] = {
    "telegram": in_telegram,
    "discord": in_discord,
    "email": in_a_mail,
    "webhook": in_a_webhook,
    "webpush": in_a_browser,
    "apprise": in_ntfy,
}
"""By channel. `labels` are those to be expected, where nothing else tells them from what they are labels of."""


def _text_and_fields(body: str, labels: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A text, and below it a line for each label."""
    lines, fields = body.strip().split("\n"), dict[str, str]()
    for label in reversed(list(labels)):
        if lines and lines[-1].startswith(f"{label}:"):
            fields[label] = lines.pop().removeprefix(f"{label}:").strip()
    return "\n".join(lines).strip(), dict(reversed(fields.items()))


class _Cells(HTMLParser):
    """What stands in the cells and headings of a page. Raises AssertionError for what does not belong in ours."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[tuple[str, str]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        allowed = "html head meta style body div table tr td th h1 br img"
        assert tag in allowed.split(), tag
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag in ("td", "th", "h1"):
            self._open.append((tag, []))
        elif tag == "br":
            self._open[-1][1].append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            _, parts = self._open.pop()
            self.cells += [(tag, text)] if (text := "".join(parts).strip()) else []

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append("".join(data.splitlines()))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(json.dumps(data))
