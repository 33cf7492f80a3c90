"""What an entry of a bucket says of its writing, and the events that follow from it.

Whoever writes a document says in the entry's note who does it and when. So the events that state the change are made of
the entry alone: whoever finds it without them, because the writer was killed in between, states the same.
"""

from __future__ import annotations

import json

import msgspec

from tocsin_common.bus.protocol import Entry
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed
from tocsin_common.events import ChannelName, DestinationChanged, DestinationState, DocumentChanged, DocumentKind
from tocsin_common.subjects import decode_token

ELSEWHERE = "elsewhere"
"""The door of those who write into a bucket and say nothing of themselves."""


class Became(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a destination by a writing of its subscriber's document, and through which door."""

    channel: ChannelName
    place: int
    state: DestinationState
    via: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes (None: an operator), through which door, and when by our clock."""

    actor: str | None = None
    via: str = ELSEWHERE
    at_ms: int = 0
    became: Became | None = None


def note_of(actor: str | None, via: str, at_ms: int, became: Became | None = None) -> str:
    """The note of a writing: ASCII, as it goes into a header."""
    note = Note(actor=actor, via=via, at_ms=at_ms, became=became)
    return json.dumps(msgspec.to_builtins(note))


def changes_of(kind: DocumentKind, entry: Entry) -> list[DocumentChanged | DestinationChanged]:
    """The events that state what an entry did, first that to the document.

    Raises ValueError when its key is that of no document.
    """
    note, document_id = _noted(entry), decode_token(entry.key)
    at_ms = note.at_ms or entry.stored_ms
    change = DocumentChanged(
        kind=kind,
        id=document_id,
        action="deleted" if entry.value is None else "written",
        revision=entry.revision,
        actor=note.actor,
        via=note.via,
        at_ms=at_ms,
    )
    if note.became is None:
        return [change]
    became = msgspec.to_builtins(note.became)
    cause = str(entry.revision)
    return [change, DestinationChanged(subscriber_id=document_id, actor=None, cause=cause, at_ms=at_ms, **became)]


def _noted(entry: Entry) -> Note:
    try:
        return decode(entry.note, Note) if entry.note else Note()
    except Malformed:
        return Note()
