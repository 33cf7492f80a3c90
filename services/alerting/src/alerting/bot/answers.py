"""Answers as Telegram takes them: HTML within its limits, with buttons or a picture."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

from alerting.channels.text import ELLIPSIS, utf16_length

TEXT_MAX, CAPTION_MAX, TOAST_MAX = 4096, 1024, 200
"""UTF-16 code units after the entities are parsed; of a toast, characters: https://core.telegram.org/bots/api"""

BUTTONS_MAX = 100
"""Telegram takes so many below one message."""

_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Button:
    """`label` is what it says. `data` comes back signed when it is pressed, or `url` is opened."""

    label: str
    data: str = ""
    url: str = ""


Rows = tuple[tuple[Button, ...], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """HTML in which everything that is not ours is escaped. After a press it takes the place of the message.

    `toast` is shown for a moment to who pressed; `text` empty: nothing else is.
    """

    text: str = ""
    buttons: Rows = ()
    picture: bytes | None = None
    toast: str = ""


class Refusal(Exception):
    """A command is not carried out. `reason` is the metric label, `text` (HTML) says it to the person."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text
        super().__init__(reason)


def plain(text: str) -> str:
    """What is left when tags and entities are read. Holds where every `<` of others is escaped."""
    return html.unescape(_TAG.sub("", text))


def shown_length(text: str) -> int:
    """UTF-16 code units, as Telegram counts."""
    return utf16_length(plain(text))


def fit(lines: Iterable[str], limit: int = TEXT_MAX) -> str:
    """As many whole lines as there is room for, so that no tag is ever cut; an ellipsis stands for the rest."""
    kept: list[str] = []
    room = limit - len(f"\n{ELLIPSIS}")
    for line in lines:
        room -= shown_length(line) + 1
        if room < 0:
            kept.append(ELLIPSIS)
            break
        kept.append(line)
    return "\n".join(kept)


def rows_of(buttons: Iterable[Button], across: int) -> Rows:
    """Buttons in rows of `across`."""
    flat = list(buttons)[:BUTTONS_MAX]
    return tuple(tuple(flat[start : start + across]) for start in range(0, len(flat), across))
