"""What strategies say of their signals, in other languages.

A strategy gives its reasons in English, with figures. The phrases of those that we bring are known without their
figures, `{}` for each, and what is not known stays in the strategy's own words: a third party's is as good as ours.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from tocsin_common.events import Language

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
PARTS = ": "
"""Between what is judged and its figures."""


def reason(text: str, language: Language) -> str:
    """A reason in a language, with the same figures in the same order; in its own words where it is not known."""
    known = phrases(language)
    if not known or "{" in text:
        return text
    parts = [(known.get(NUMBER.sub("{}", part)), NUMBER.findall(part)) for part in text.split(PARTS)]
    said = [phrase.format(*figures) for phrase, figures in parts if phrase is not None]
    return PARTS.join(said) if len(said) == len(parts) else text


@cache
def phrases(language: Language) -> Mapping[str, str]:
    """The phrases of a language by the English ones; of English itself there are none."""
    file = files("alerting").joinpath("texts", f"phrases.{language}.toml")
    return {} if language == "en" else tomllib.loads(file.read_text("utf-8"))
