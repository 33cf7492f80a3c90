"""Documents as they are shown: addresses and secrets stay here. Pure.

A hint is enough for somebody to recognise what is theirs, and no use to anybody else.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from tocsin_common.documents import Destination, Document, Subscriber
from tocsin_common.events import ChannelName

HINT_CHARACTERS = 4
HIDDEN = "…"


def shown(document: Document) -> dict[str, Any]:
    """A document without what is secret in it; destinations have `place` and `hint` instead."""
    found: dict[str, Any] = msgspec.to_builtins(document)
    if isinstance(document, Subscriber):
        found["destinations"] = destinations(document)
    return found


def destinations(subscriber: Subscriber) -> list[dict[str, Any]]:
    """Each with its `place` among those of its channel, from 0, and a `hint` of where it leads."""
    places: dict[ChannelName, int] = {}
    found = []
    for one in subscriber.destinations:
        place = places[one.channel] = places.get(one.channel, -1) + 1
        fields = msgspec.to_builtins(one)
        del fields["address"], fields["secret"]
        found.append({**fields, "place": place, "hint": hint(one)})
    return found


def hint(destination: Destination) -> str:
    """For example `…6789`, `a…@example.org`, or the host of a URL."""
    address = destination.address
    match destination.channel:
        case "email":
            name, _, host = address.rpartition("@")
            return f"{name[:1]}{HIDDEN}@{host}" if name else HIDDEN
        case "telegram":
            return HIDDEN + address[-HINT_CHARACTERS:] if len(address) >= 2 * HINT_CHARACTERS else HIDDEN
        case "apprise":  # where others have a host, these may have a token
            scheme, separator, _ = address.partition("://")
            return f"{scheme}://{HIDDEN}" if separator and scheme.isalnum() else HIDDEN
    return _host(address)


def _host(address: str) -> str:
    """Never the user, port, path or query of a URL: any of them may be the secret."""
    try:
        return urlsplit(address).hostname or HIDDEN
    except ValueError:
        return HIDDEN
