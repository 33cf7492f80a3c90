"""What an alert says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Plain text only: `title` one line, `text` some sentences, `fields` label to value in reading order."""

    title: str
    text: str
    fields: dict[str, str]
