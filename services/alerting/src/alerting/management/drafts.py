"""What somebody wrote into a document from outside, made whole. Pure.

They need not repeat the id, nor say what is set for them, and they never had the addresses: a destination without one
is the one that stands at its `place` now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from alerting.kinds import D, Kind
from alerting.management.redaction import destinations
from alerting.reasons import Refused
from tocsin_common.documents import Subscriber
from tocsin_common.errors import Malformed, Rejected
from tocsin_common.events import DocumentKind
from tocsin_common.requests.management import Actor

WHOSE: dict[DocumentKind, Callable[[str], dict[str, Any]]] = {
    "rule": lambda me: {"owner": me, "subscribers": [me]},
    "silence": lambda me: {"author": me, "subscribers": [me]},
    "subscriber": lambda _me: {},
}
"""What subscribers need not say, and cannot say otherwise."""

KEPT = ("address", "secret", "on_unknown", "verified", "enabled")
"""What a destination without an address has of the one that stands at its place, unless it says otherwise."""


def completed(actor: Actor, kind: Kind[D], document_id: str, draft: Mapping[str, Any], before: D | None) -> D:
    """The document that a draft stands for. Raises Rejected, naming the field that is wrong."""
    fields = {kind.id_field: document_id, **draft}
    if not actor.is_operator:
        fields |= WHOSE[kind.name](actor.subscriber_id)
    if kind.name == "subscriber" and isinstance(draft.get("destinations"), list):
        known = before if isinstance(before, Subscriber) else None
        fields["destinations"] = [_destination(n, one, known) for n, one in enumerate(draft["destinations"])]
    try:
        return kind.decode(msgspec.json.encode(fields), document_id)
    except Malformed as error:
        raise Rejected(Refused.INVALID, str(error)) from error


def _destination(number: int, draft: Any, before: Subscriber | None) -> Any:
    if not isinstance(draft, dict):
        return draft
    given = {name: value for name, value in draft.items() if name not in ("place", "hint")}
    if "address" in given:
        return given
    for place, one in zip(destinations(before), before.destinations, strict=True) if before else ():
        if (place["channel"], place["place"]) == (draft.get("channel"), draft.get("place")):
            return {**{name: getattr(one, name) for name in KEPT}, **given}
    detail = f"`$.destinations[{number}]` has no `address`, and there is none at its `place` to be kept"
    raise Rejected(Refused.INVALID, detail)
