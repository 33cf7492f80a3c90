"""What every event is: frozen, tagged with type and schema version, knowing its subject and its derived id."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sized
from typing import Protocol

import msgspec

MAX_COLUMN = 10_000
"""Most rows one columnar event may carry: a message stays below the server's 8 MiB payload limit."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A fact. The bus needs nothing but these two properties to publish it."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """The NATS subject the event is published on."""

    @property
    @abstractmethod
    def event_id(self) -> str:
        """The id derived from the event's cause: the same fact always has the same id."""


class Column(Protocol):
    """Stands for a list in an event that is only going to be published, and knows its JSON."""

    def json(self) -> bytes:
        """The text that a list of the same values would become."""
        ...


def _as_text(column: Column) -> msgspec.Raw:
    return msgspec.Raw(column.json())


encoder = msgspec.json.Encoder(decimal_format="string", enc_hook=_as_text)
"""Writes events and parts of them; Decimals become text."""


def require_same_length(*columns: Sized) -> None:
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or not 0 < lengths.pop() <= MAX_COLUMN:
        sizes = [len(column) for column in columns]
        raise ValueError(f"columns must be equally long, 1 to {MAX_COLUMN} rows, not {sizes}")
