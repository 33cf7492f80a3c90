"""Who changed which of the documents that people set, and which destinations were asked, said yes, or left."""

from __future__ import annotations

from typing import Literal

from tocsin_common import subjects
from tocsin_common.events.alerts import ChannelName
from tocsin_common.events.event import Event
from tocsin_common.ids import derive

DocumentKind = Literal["rule", "subscriber", "silence"]
DestinationState = Literal["asked", "confirmed", "unsubscribed"]


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


class DestinationChanged(Event, frozen=True, kw_only=True, tag="destination.v1"):
    """A destination was asked whether it wants alerts, said yes, or unsubscribed. Nothing of its address is said.

    `place` is its number among those of its channel. `asked`: the request goes out now; `actor` is the subscriber who
    wished it (None: an operator), `via` their door. The others are done by whoever is reached there, with a `code`, in
    `telegram`, or by a `link`. `cause` is the id of the request's message, or the revision of the subscriber's document
    that says so. `at_ms` is our clock.
    """

    subscriber_id: str
    channel: ChannelName
    place: int
    state: DestinationState
    actor: str | None
    via: str
    cause: str
    at_ms: int

    @property
    def subject(self) -> str:
        return subjects.management("destination", self.subscriber_id)

    @property
    def event_id(self) -> str:
        return derive("destination", self.subscriber_id, self.channel, self.place, self.state, self.cause)
