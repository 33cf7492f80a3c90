"""Who changed which of the documents that people set."""

from __future__ import annotations

from typing import Literal

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive

DocumentKind = Literal["rule", "subscriber", "silence"]


class DocumentChanged(Event, frozen=True, kw_only=True, tag="management.v1"):
    """Somebody wrote or deleted a document, which is at `revision` now. Nothing of its content is said.

    `actor`: the subscriber who did it; None: an operator. `via`: the door they came through, `elsewhere` where they
    wrote into the bucket by other means. `at_ms` is our clock.
    """

    kind: DocumentKind
    id: str
    action: Literal["written", "deleted"]
    revision: int
    actor: str | None
    via: str
    at_ms: int

    @property
    def subject(self) -> str:
        return subjects.management(self.kind, self.id)

    @property
    def event_id(self) -> str:
        return derive("management", self.kind, self.id, self.revision)
