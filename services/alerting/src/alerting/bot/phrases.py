"""What the bot says, in the languages it speaks: `texts/*.toml`, HTML with places for values.

A value is escaped and kept short wherever it stands, so no name or symbol can end a tag or fill the message.
"""

from __future__ import annotations

import html
import tomllib
from functools import cache
from importlib.resources import files

from alerting.channels.text import cut

LANGUAGES = ("en", "id")
DEFAULT = "en"

VALUE_MAX = 400
"""UTF-16 code units of one value."""


class Phrases:
    """The sentences of one language."""

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of a key with its values, HTML."""
        shown = {name: html.escape(cut(str(value), VALUE_MAX)) for name, value in values.items()}
        return self._texts[key].format_map(shown)

    def plain(self, key: str, **values: object) -> str:
        """The same for a button or a toast, which know no HTML."""
        return self._texts[key].format_map(values)

    def commands(self) -> dict[str, str]:
        """What each command does, by its name."""
        prefix = "command."
        return {key.removeprefix(prefix): text for key, text in self._texts.items() if key.startswith(prefix)}


@cache
def phrases(language: str) -> Phrases:
    """The sentences of a language; of one that is not spoken here, the default's."""
    known = language if language in LANGUAGES else DEFAULT
    return Phrases(known, texts(known))


def texts(language: str) -> dict[str, str]:
    """The sentences by `section.key`, as they stand in the file."""
    tree = tomllib.loads(files(__package__).joinpath(f"texts/{language}.toml").read_text("utf-8"))
    return {f"{section}.{key}": text for section, keys in tree.items() for key, text in keys.items()}


def spoken(*wanted: str) -> Phrases:
    """The first of the wanted languages (`id`, `id-ID`) that is spoken here."""
    for language in wanted:
        known = language.lower().partition("-")[0]
        if known in LANGUAGES:
            return phrases(known)
    return phrases(DEFAULT)
