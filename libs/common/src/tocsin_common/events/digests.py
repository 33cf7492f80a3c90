"""Facts about what is not sent singly: the lines that wait for a digest, and the digests that have told them."""

from __future__ import annotations

from tocsin_common import subjects
from tocsin_common.events.alerts import AlertKind, AsideReason, ChannelName, DeliveryState, Severity
from tocsin_common.events.event import Event
from tocsin_common.ids import derive


class DigestLine(Event, frozen=True, kw_only=True, tag="digest_line.v1"):
    """A delivery put aside, to be told together with others of its `box`; each is there once.

    A box is of one destination (the `place`-th of its channel). When its first waiting line is due (`due_ms`, by our
    clock), its digest may go out with all lines there are by then. `reason` says why the delivery was put aside;
    `unreachable`, that its receiver had failed before. `kind`, `symbol`, `strategy`, `ts_ms` and `severity` are the
    alert's, title, text and fields what it would have said. `stored_ms`: when its cause was stored.
    """

    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    place: int
    box: str
    due_ms: int
    reason: AsideReason
    kind: AlertKind
    symbol: str
    strategy: str
    ts_ms: int
    stored_ms: int
    title: str
    text: str
    fields: dict[str, str]
    severity: Severity = "info"
    unreachable: bool = False
    silent: bool = False

    @property
    def subject(self) -> str:
        return subjects.digest_line(self.channel, self.subscriber_id, self.delivery_id)

    @property
    def event_id(self) -> str:
        return derive("digest_line", self.delivery_id)


class DigestEnded(Event, frozen=True, kw_only=True, tag="digest.v1"):
    """A digest has ended in `state`, as its delivery: it was for the lines of its box from `first_seq` through
    `through_seq` (sequences of DIGESTS), which no other digest tells."""

    digest_id: str
    delivery_id: str
    subscriber_id: str
    channel: ChannelName
    place: int
    box: str
    first_seq: int
    through_seq: int
    state: DeliveryState

    @property
    def subject(self) -> str:
        return subjects.digest_ended(self.channel, self.subscriber_id, self.delivery_id)

    @property
    def event_id(self) -> str:
        return derive("digest_ended", self.delivery_id)
