"""Questions about rules, subscribers and silences, and about what became of alerts, answered by alerting.

Each names who asks. Whoever may speak to NATS is believed: the doors (the gateway, the command, the bot) know whom they
let in. No answer holds an address or a secret.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from tocsin_common.documents import Name
from tocsin_common.events import ChannelName, DeliveryChanged, DocumentKind
from tocsin_common.requests.endpoint import Endpoint, Request

MAX_PAGE = 500
"""Most documents or deliveries of one answer."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)]
Revision = Annotated[int, msgspec.Meta(ge=0)]


class Actor(Request, frozen=True, kw_only=True):
    """Who asks: an operator, or one subscriber. `via` names the door, for the record: `cli`, `telegram`, `key 3f9a`."""

    role: Literal["operator", "subscriber"]
    via: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    subscriber_id: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def __post_init__(self) -> None:
        if (self.role == "subscriber") != bool(self.subscriber_id):
            raise ValueError("a subscriber has a subscriber_id, an operator has none")

    @property
    def is_operator(self) -> bool:
        return self.role == "operator"


class ListRequest(Request, frozen=True, kw_only=True):
    """The documents of a kind that the actor may see, by id, from just after the id `after`."""

    actor: Actor
    kind: DocumentKind
    after: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Limit = 100


class GetRequest(Request, frozen=True, kw_only=True):
    """One document."""

    actor: Actor
    kind: DocumentKind
    id: Name


class PutRequest(Request, frozen=True, kw_only=True):
    """Write a document in place of its writing `revision`; 0: there must be none yet.

    The document need not repeat its id. A destination of a subscriber that has no `address` but a `place` (its number
    among those of its channel, from 0) is the one that stands there, as an answer shows it.
    """

    actor: Actor
    kind: DocumentKind
    id: Name
    document: dict[str, Any]
    revision: Revision


class DeleteRequest(Request, frozen=True, kw_only=True):
    """Delete a document of which `revision` is the last writing."""

    actor: Actor
    kind: DocumentKind
    id: Name
    revision: Annotated[int, msgspec.Meta(ge=1)]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A document and which writing of it this is.

    A subscriber's destinations have `place` and `hint` instead of address and secret.
    """

    kind: DocumentKind
    id: str
    revision: int
    document: dict[str, Any]


class ListReply(msgspec.Struct, frozen=True, kw_only=True):
    """A page of documents. `next_after`: the `after` of the next page; None: this was the last."""

    items: list[Shown]
    next_after: str | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """It is gone; `revision` is that of the deletion."""

    kind: DocumentKind
    id: str
    revision: int


class SendTestRequest(Request, frozen=True, kw_only=True):
    """Send a real message that says it is a test: to all destinations of a subscriber, or those of one channel."""

    actor: Actor
    subscriber_id: Name
    channel: ChannelName | None = None


class OpenedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was opened."""

    delivery_id: str
    channel: ChannelName


class SendTestReply(msgspec.Struct, frozen=True, kw_only=True):
    """The alert that says it was asked for, and the deliveries that follow from it."""

    alert_id: str
    deliveries: list[OpenedDelivery]


class DeliveriesRequest(Request, frozen=True, kw_only=True):
    """What happened to deliveries, newest first: those to a subscriber, or of an alert, or all the actor may see.

    `before`: only entries of the ledger with lower sequences (0: from its end).
    """

    actor: Actor
    subscriber_id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    alert_id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    before: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Limit = 100


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger of deliveries, and its sequence on the stream."""

    seq: int
    change: DeliveryChanged


class DeliveriesReply(msgspec.Struct, frozen=True, kw_only=True):
    """A page, perhaps an empty one. `next_before`: the `before` of the next page; None: the ledger ends here."""

    items: list[LedgerEntry]
    next_before: int | None = None


class WhyRequest(Request, frozen=True, kw_only=True):
    """Why did somebody (not) get this? `id` is that of an alert, of a delivery, or of what an alert would be about.

    That of a rule asks why it is silent. Subscribers are answered in their language.
    """

    actor: Actor
    id: Name
    subscriber_id: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event that proves something. `stored_ms` is the server's clock."""

    stream: str
    seq: int
    stored_ms: int
    event: dict[str, Any]


Outcome = Literal["sent", "not_sent", "under_way", "uncertain", "no_match"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one rule for one subscriber (None: for nobody in particular), in a sentence, with its proof."""

    subscriber_id: str | None
    rule_id: str
    alert_id: str
    outcome: Outcome
    sentence: str
    evidence: list[Evidence]


class WhyReply(msgspec.Struct, frozen=True, kw_only=True):
    """`about` says what was asked about, in words; each verdict is of one rule and one subscriber."""

    id: str
    about: str
    verdicts: list[Verdict]


LIST = Endpoint("alerting.list", "alerting", ListRequest, ListReply)
GET = Endpoint("alerting.get", "alerting", GetRequest, Shown)
PUT = Endpoint("alerting.put", "alerting", PutRequest, Shown)
DELETE = Endpoint("alerting.delete", "alerting", DeleteRequest, Deleted)
SEND_TEST = Endpoint("alerting.test_send", "alerting", SendTestRequest, SendTestReply)
DELIVERY_LOG = Endpoint("alerting.deliveries", "alerting", DeliveriesRequest, DeliveriesReply)
WHY = Endpoint("alerting.why", "alerting", WhyRequest, WhyReply)
