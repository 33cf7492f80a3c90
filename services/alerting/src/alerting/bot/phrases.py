"""What the bot says, in the languages of subscribers: `texts/bot.*.toml`, HTML with places for values.

A value is escaped and kept short wherever it stands, so no name or symbol can end a tag or fill the message.
"""

from __future__ import annotations

import html
import tomllib
from functools import cache
from importlib.resources import files
from typing import get_args

from alerting.channels.text import cut, shown
from tocsin_common.events import Language

LANGUAGES: tuple[Language, ...] = get_args(Language)
DEFAULT: Language = "en"

VALUE_MAX = 400
"""UTF-16 code units of one value."""


class Phrases:
    """The sentences of one language."""

    def __init__(self, language: Language, texts: dict[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of a key with its values, HTML."""
        return self._texts[key].format_map({name: html.escape(_short(value)) for name, value in values.items()})

    def plain(self, key: str, **values: object) -> str:
        """The same for a button or a toast, which know no HTML."""
        return self._texts[key].format_map({name: _short(value) for name, value in values.items()})

    def text(self, key: str) -> str:
        """A sentence as it stands in the file."""
        return self._texts[key]

    def keys(self) -> set[str]:
        return set(self._texts)

    def section(self, name: str) -> dict[str, str]:
        """The texts of a section as they stand there: `command` and `operator` say what each command does."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): text for key, text in self._texts.items() if key.startswith(prefix)}


def _short(value: object) -> str:
    return cut(shown(str(value)), VALUE_MAX)


@cache
def phrases(language: Language) -> Phrases:
    """The sentences of a language, by `section.key`."""
    tree = tomllib.loads(files("alerting").joinpath("texts", f"bot.{language}.toml").read_text("utf-8"))
    return Phrases(language, {f"{section}.{key}": text for section, keys in tree.items() for key, text in keys.items()})


def spoken(wanted: str) -> Phrases:
    """The sentences of a language as Telegram names it (`id`, `pt-br`); the default's where it is not spoken here."""
    named = wanted.lower().partition("-")[0]
    return phrases(next((known for known in LANGUAGES if known == named), DEFAULT))
