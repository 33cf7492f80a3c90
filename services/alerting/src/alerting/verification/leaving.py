"""Unsubscribing by a link, without a login: whoever reads what arrives at an address may end it, and nothing else."""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from alerting.kinds import SUBSCRIBER
from alerting.links import Links, Token, read
from alerting.management.core import Management
from alerting.reasons import Unconfirmed
from alerting.sending.places import at_places
from alerting.verification.metrics import AddressMetrics
from tocsin_common.changes import Became
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.errors import Rejected
from tocsin_common.requests.management import Actor

log = structlog.get_logger()


class Leaving:
    """`links` None: we make none, so none is ours."""

    def __init__(self, management: Management, links: Links | None, counted: AddressMetrics) -> None:
        self._management, self._links, self._counted = management, links, counted

    async def look(self, text: str) -> Subscriber:
        """Whose destination a token would unsubscribe. Raises Rejected for one that is none of ours."""
        token = read(text)
        if token is None:
            raise _unknown()
        operator = Actor(role="operator", via="unsubscribe link")
        try:
            subscriber = (await self._management.get(operator, SUBSCRIBER, token.subscriber_id)).document
        except Rejected:
            raise _unknown() from None
        self._places(subscriber, token)
        return subscriber

    async def leave(self, text: str) -> Subscriber:
        """Unsubscribe the destination a token is for; once it is, nothing is changed. Raises Rejected like `look`."""
        subscriber, token = await self.look(text), read(text)
        assert token is not None
        places = self._places(subscriber, token)
        if not any(one.enabled for one in places.values()):
            return subscriber
        [channel] = {one.channel for one in places.values()}
        operator = Actor(role="operator", via=f"unsubscribed {channel} {min(places)}")
        became = Became(channel=channel, place=min(places), state="unsubscribed", via="link")
        held = await self._management.change(
            operator, SUBSCRIBER, token.subscriber_id, lambda subscriber: self._left(subscriber, token), became=became
        )
        self._counted.unsubscribed.labels(channel).inc()
        return held.document

    def _left(self, subscriber: Subscriber, token: Token) -> Subscriber:
        left = self._places(subscriber, token).values()
        destinations = [
            replace(one, enabled=False) if any(one is other for other in left) else one
            for one in subscriber.destinations
        ]
        return replace(subscriber, destinations=destinations)

    def _places(self, subscriber: Subscriber, token: Token) -> dict[int, Destination]:
        """Where the address of a token stands, which may be more than once."""
        links = self._links
        if links is None:
            raise _unknown()
        found = {place: one for place, one in at_places(subscriber) if links.made(token, one)}
        if not found:
            raise _unknown()
        return found


def _unknown() -> Rejected:
    """Says nothing of whether the subscriber exists."""
    return Rejected(Unconfirmed.UNKNOWN_LINK, "the link is not ours, or its address is not in use any more")
