"""Who may see and write which document. Pure.

Operators may everything. A subscriber has the rules that are theirs and for them alone, the silences they made, which
are for them alone, and their own document; anything else is not there for them.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from alerting.reasons import Refused
from tocsin_common.documents import Destination, Document, Rule, Silence, Subscriber, SystemRule
from tocsin_common.errors import Rejected
from tocsin_common.requests.management import Actor

D = TypeVar("D", bound=Document)

OF = ":"
"""Between a subscriber's id and the rest of the id of what they make: nobody takes another one's ids."""


def may_see(actor: Actor, document: Document) -> bool:
    """Whether a document is there for the actor."""
    if actor.is_operator:
        return True
    own = [actor.subscriber_id]
    match document:
        case Rule():
            return document.owner == actor.subscriber_id and document.subscribers == own
        case Silence():
            return document.author == actor.subscriber_id and document.subscribers == own
        case Subscriber():
            return document.subscriber_id == actor.subscriber_id
    return False


def as_written_by(actor: Actor, document: D, before: D | None, most_destinations: int) -> D:
    """The document as this actor writes it; `before` is what it replaces. Raises Rejected.

    Of a subscriber's, whose it is and for whom is set here, whatever it said.
    """
    if actor.is_operator:
        return document
    me = actor.subscriber_id
    match document:
        case SystemRule():
            raise Rejected(Refused.FORBIDDEN, "what becomes of the system is for operators")
        case Rule():
            _check_id(me, document.rule_id, before)
            return replace(document, owner=me, subscribers=[me])
        case Silence():
            _check_id(me, document.silence_id, before)
            return replace(document, author=me, subscribers=[me])
        case Subscriber():
            return _own_document(me, document, before, most_destinations)
    raise Rejected(Refused.FORBIDDEN, f"subscribers do not write a {type(document).__name__}")


def _check_id(me: str, document_id: str, before: Document | None) -> None:
    owner, _, name = document_id.rpartition(OF)
    if before is None and (owner != me or not name):
        raise Rejected(Refused.FORBIDDEN, f"the id must begin with {me + OF!r}, for example {me + OF + 'mine'!r}")


def _own_document(me: str, document: D, before: D | None, most_destinations: int) -> D:
    assert isinstance(document, Subscriber)
    if document.subscriber_id != me or not isinstance(before, Subscriber):
        raise Rejected(Refused.NOT_FOUND, f"there is no subscriber {document.subscriber_id!r}")
    if document.enabled != before.enabled:
        raise Rejected(Refused.FORBIDDEN, "operators switch subscribers on and off; mute yourself instead")
    if len(document.destinations) > max(most_destinations, len(before.destinations)):
        raise Rejected(Refused.TOO_MANY, f"{len(document.destinations)} destinations, at most {most_destinations}")
    known = {(one.channel, one.address): one for one in before.destinations}
    return replace(
        document,
        quota=before.quota,
        destinations=[_as_known(one, known.get((one.channel, one.address))) for one in document.destinations],
    )


def _as_known(destination: Destination, known: Destination | None) -> Destination:
    """Nobody vouches for what is new, nor for a place whose reader unsubscribed and is to be written to again."""
    if known is None and destination.channel == "console":
        raise Rejected(Refused.FORBIDDEN, "the console is the operators'")
    again = known is not None and destination.enabled and not known.enabled
    return replace(destination, verified=known is not None and known.verified and not again)
