"""What an entry of a bucket says of its writing, and the event that follows from it.

Whoever writes a document says in the entry's note who does it and when. So the event that states the change is made of
the entry alone: whoever finds it without one, because the writer was killed in between, states the same.
"""

from __future__ import annotations

import json

import msgspec

from tocsin_common.bus.protocol import Entry
from tocsin_common.events import DocumentChanged, DocumentKind
from tocsin_common.subjects import decode_token

ELSEWHERE = "elsewhere"
"""The door of those who write into a bucket and say nothing of themselves."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes (None: an operator), through which door, and when by our clock."""

    actor: str | None = None
    via: str = ELSEWHERE
    at_ms: int = 0


def note_of(actor: str | None, via: str, at_ms: int) -> str:
    """The note of a writing: ASCII, as it goes into a header."""
    return json.dumps({"actor": actor, "via": via, "at_ms": at_ms})


def change_of(kind: DocumentKind, entry: Entry) -> DocumentChanged:
    """The event that states what an entry did. Raises ValueError when its key is that of no document."""
    try:
        note = msgspec.json.decode(entry.note, type=Note) if entry.note else Note()
    except msgspec.DecodeError:
        note = Note()
    return DocumentChanged(
        kind=kind,
        id=decode_token(entry.key),
        action="deleted" if entry.value is None else "written",
        revision=entry.revision,
        actor=note.actor,
        via=note.via,
        at_ms=note.at_ms or entry.stored_ms,
    )
