"""The kinds of documents that people set: where each is kept, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tocsin_common.decoding import decode
from tocsin_common.documents import AlertRule, Document, Silence, Subscriber
from tocsin_common.errors import Malformed
from tocsin_common.events import DocumentKind
from tocsin_common.streams import ALERT_RULES, SILENCES, SUBSCRIBERS, Bucket

D = TypeVar("D", bound=Document)


@dataclass(frozen=True)
class Kind(Generic[D]):
    """One kind of documents: its bucket, what a value of it is, and which field is the document's own id."""

    name: DocumentKind
    bucket: Bucket
    type: Any
    id_field: str

    def id_of(self, document: D) -> str:
        found: str = getattr(document, self.id_field)
        return found

    def decode(self, value: bytes, document_id: str) -> D:
        """Raises Malformed, also for a document that has another id."""
        document: D = decode(value, self.type, self.name)
        if (found := self.id_of(document)) != document_id:
            raise Malformed(
                f"`$.{self.id_field}` is {found!r}, but the document is stored under the key of {document_id!r}"
            )
        return document


@dataclass(frozen=True, slots=True)
class Held(Generic[D]):
    """A document, and which writing of it this is."""

    document: D
    revision: int


RULE: Kind[AlertRule] = Kind("rule", ALERT_RULES, AlertRule, "rule_id")
SUBSCRIBER: Kind[Subscriber] = Kind("subscriber", SUBSCRIBERS, Subscriber, "subscriber_id")
SILENCE: Kind[Silence] = Kind("silence", SILENCES, Silence, "silence_id")
KINDS: dict[DocumentKind, Kind[Any]] = {kind.name: kind for kind in (RULE, SUBSCRIBER, SILENCE)}
