"""Asking an address whether it wants alerts, and taking its answer.

What only somebody who reads an address can know proves it: a code in a mail, on a Discord channel or in a browser; on
Telegram, the chat in which the bot is given the code; of a webhook, that it answers a challenge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from alerting.channels import Action, Channel, Message
from alerting.kinds import SUBSCRIBER
from alerting.links import Links
from alerting.management.core import Management
from alerting.metrics import Metrics
from alerting.reasons import Unconfirmed
from alerting.sending.gates import Gates
from alerting.sending.places import at_places
from alerting.sending.requests import Requests
from alerting.verification.codes import digest, new_code, spaced, typed
from alerting.verification.metrics import AddressMetrics
from alerting.verification.opened import LIFETIME_S, Open, Opened, address_digest
from alerting.words.voice import Voice
from tocsin_common.changes import Became
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.errors import Rejected
from tocsin_common.events import ChannelName
from tocsin_common.ids import derive
from tocsin_common.requests.management import Actor
from tocsin_common.requests.verification import VerifyReply

log = structlog.get_logger()

NOT_VERIFIABLE: frozenset[ChannelName] = frozenset({"console"})


class Verification:
    """`channels` are those that are configured, `challenge` is what webhooks are asked by.

    Raises Rejected with a reason of `reasons.Unconfirmed` or `reasons.Undelivered`, and Retryable.
    """

    def __init__(
        self,
        management: Management,
        opened: Opened,
        channels: Mapping[ChannelName, Channel],
        challenge: Channel,
        links: Links | None,
        metrics: Metrics,
        gates: Gates,
        counted: AddressMetrics,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._management, self._opened, self._links = management, opened, links
        self._channels: dict[ChannelName, Channel] = {**channels, "webhook": challenge}
        self._requests = {name: Requests(name, metrics) for name in self._channels}
        self._gates = gates
        self._counted, self._now_ms = counted, clock_ms

    async def ask(self, actor: Actor, subscriber_id: str, channel: ChannelName, place: int) -> VerifyReply:
        """Ask a destination. Nothing is sent where it is verified, or where Telegram's bot will be told the code."""
        subscriber = (await self._management.get(actor, SUBSCRIBER, subscriber_id)).document
        destination = dict(at_places_of(subscriber, channel)).get(place)
        if destination is None:
            raise Rejected(Unconfirmed.NO_DESTINATION, f"there is no {channel} destination at place {place}")
        if not destination.enabled:
            raise Rejected(Unconfirmed.UNSUBSCRIBED, "whoever is reached there has unsubscribed")
        if destination.verified:
            return VerifyReply(state="confirmed")
        sender = self._sender(channel)
        await self._opened.count(subscriber_id, destination)
        code = new_code()
        request = await self._opened.open(code, subscriber_id, place, destination)
        await self._opened.state(actor, request, message_id(code))
        if channel == "telegram":
            return VerifyReply(state="open", code=code, expires_ms=request.expires_ms)
        message = self._challenge(code) if channel == "webhook" else self._letter(code, subscriber)
        await self._gates.ask(
            channel, destination.address, lambda: self._requests[channel].send(sender, message, destination)
        )
        self._counted.asked.labels(channel).inc()
        log.info("verification requested", subscriber=subscriber_id, channel=channel, place=place)
        if channel != "webhook":
            return VerifyReply(state="sent", expires_ms=request.expires_ms)
        await self.confirm(code)
        return VerifyReply(state="confirmed")

    async def look(self, text: str) -> Subscriber:
        """Whose destination a code would confirm."""
        request, _ = await self._found(text)
        subscriber = await self._subscriber(request.subscriber_id)
        _confirmed(subscriber, request, None)
        return subscriber

    async def confirm(self, text: str, *, chat: str | None = None) -> Subscriber:
        """Take what somebody typed, or followed, for the code of a destination. `chat`: where the bot was given it.

        A Telegram destination is that chat from then on. The same code does nothing a second time.
        """
        request, code = await self._found(text)
        if (request.channel == "telegram") != (chat is not None):
            raise Rejected(Unconfirmed.WRONG_CHANNEL, "a code for Telegram is for the bot, others are not")
        operator = Actor(role="operator", via=f"confirmed {request.channel} {request.place}")
        door = "telegram" if chat else "code"
        became = Became(channel=request.channel, place=request.place, state="confirmed", via=door)
        held = await self._management.change(
            operator,
            SUBSCRIBER,
            request.subscriber_id,
            lambda subscriber: _confirmed(subscriber, request, chat),
            became=became,
        )
        await self._opened.close(code)
        self._counted.confirmed.labels(request.channel).inc()
        return held.document

    async def _found(self, text: str) -> tuple[Open, str]:
        code = typed(text)
        request = await self._opened.find(code) if code else None
        if code is None or request is None:
            raise Rejected(Unconfirmed.UNKNOWN_CODE, "no such code, or it was used, or its day is over")
        return request, code

    async def _subscriber(self, subscriber_id: str) -> Subscriber:
        return (await self._management.get(Actor(role="operator", via="code"), SUBSCRIBER, subscriber_id)).document

    def _sender(self, channel: ChannelName) -> Channel:
        if channel in NOT_VERIFIABLE:
            raise Rejected(Unconfirmed.NOT_VERIFIABLE, f"nobody can confirm {channel}; an operator vouches for it")
        sender = self._channels.get(channel)
        if sender is None:
            raise Rejected(Unconfirmed.CHANNEL_NOT_CONFIGURED, f"{channel} is not configured")
        return sender

    def _challenge(self, code: str) -> Message:
        return Message(message_id(code), "", "", code, {}, self._now_ms())

    def _letter(self, code: str, subscriber: Subscriber) -> Message:
        """Nothing that somebody wrote is in it: its reader may be a stranger to them."""
        voice, now_ms = Voice.of(subscriber), self._now_ms()
        say = voice.say
        until = voice.moment(now_ms + LIFETIME_S * 1000)
        return Message(
            delivery_id=message_id(code),
            alert_id="",
            title=say("request.title"),
            text=say("request.text"),
            fields={say("request.code"): spaced(code), say("request.until"): until},
            ts_ms=now_ms,
            voice=voice,
            subscriber_id=subscriber.subscriber_id,
            action=Action(say("request.confirm"), self._links.confirm(code)) if self._links else None,
        )


def message_id(code: str) -> str:
    """The id of the message that asks for a code; nobody finds the code by it."""
    return derive("verification", digest(code))


def at_places_of(subscriber: Subscriber, channel: ChannelName) -> list[tuple[int, Destination]]:
    """The destinations on one channel with their places."""
    return [(place, one) for place, one in at_places(subscriber) if one.channel == channel]


def _confirmed(subscriber: Subscriber, request: Open, chat: str | None) -> Subscriber:
    """With the destination verified. Raises Rejected where another address stands there by now."""
    destination = dict(at_places_of(subscriber, request.channel)).get(request.place)
    if destination is None or address_digest(destination) != request.address_digest:
        raise Rejected(Unconfirmed.ADDRESS_CHANGED, "the address was changed or removed after it was asked")
    address = destination.address if chat is None else chat
    return with_destination(subscriber, destination, replace(destination, address=address, verified=True))


def with_destination(subscriber: Subscriber, old: Destination, new: Destination) -> Subscriber:
    """With one destination in place of another."""
    return replace(subscriber, destinations=[new if one is old else one for one in subscriber.destinations])
