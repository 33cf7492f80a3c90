"""How somebody is spoken to: in the words of their language, by the clock on their wall.

The words are in `texts`, one file for each language, all with the same keys. Numbers are written alike in all of them:
people compare them with what their exchange shows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from alerting.words.wording import moment
from tocsin_common.documents import Subscriber
from tocsin_common.events import Language


@dataclass(frozen=True, slots=True)
class Voice:
    """`zone` is an IANA time zone."""

    language: Language = "en"
    zone: str = "UTC"

    @classmethod
    def of(cls, subscriber: Subscriber) -> Voice:
        return cls(subscriber.language, subscriber.zone)

    def say(self, key: str, /, **given: object) -> str:
        """The text of a key, `section.name`, with what is given in place of its placeholders."""
        return texts(self.language)[key].format_map(given)

    def moment(self, ms: int) -> str:
        """`2024-08-09 06:55 WIB`, with seconds where there are any."""
        return moment(ms, ZoneInfo(self.zone))

    def duration(self, seconds: float) -> str:
        """`45 s`, `12 min`, `3.5 h`."""
        if seconds < 90:
            return self.say("duration.seconds", number=f"{seconds:.0f}")
        if seconds < 5400:
            return self.say("duration.minutes", number=f"{seconds / 60:.0f}")
        return self.say("duration.hours", number=f"{seconds / 3600:.1f}")


RECORD = Voice()
"""How alerts are stated for the record."""


@cache
def texts(language: Language) -> Mapping[str, str]:
    """Every text of a language by its key."""
    sections = tomllib.loads(files("alerting").joinpath("texts", f"{language}.toml").read_text("utf-8"))
    return {f"{section}.{name}": text for section, given in sections.items() for name, text in given.items()}
