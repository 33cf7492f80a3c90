"""How often each receiver may be asked: what its makers say, and what the configuration says where they do not."""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

from alerting.config import AlertingSection
from alerting.sending.slots import Limit, Limits
from tocsin_common.events import ChannelName
from tocsin_common.ids import derive

DISCORD = (Limit(5, 2_000),)
"""Of each webhook, its threads together. Discord publishes no figure, but every answer's X-RateLimit headers say this
one, and where they say less they are kept to: https://discord.com/developers/docs/topics/rate-limits"""

NO_CHAT = ""
"""The address, on Telegram, of what appears in no chat: it keeps to the rate of all."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Who is limited, and how. `alone`: nobody else is on this channel. The key tells nobody an address."""

    key: str
    limits: Limits = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where a delivery goes: the host that takes it, which many may share, and the destination itself."""

    host: str
    destination: str
    shared: Scope
    own: Scope


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits of every channel."""

    settings: AlertingSection

    def route(self, channel: ChannelName, address: str) -> Route:
        """Where an address of a channel leads, and under which limits."""
        settings = self.settings
        match channel:
            case "telegram":
                return _route(channel, "", address, _eighths(settings.telegram.per_s), self._chat(address))
            case "email":
                return _route(channel, "", address, _eighths(settings.email.per_s), ())
            case "discord":
                return _route(channel, _host(address), address, (), DISCORD, of=address.partition("?")[0])
            case "webhook":
                return _route(channel, _host(address), address, _quarters(settings.webhook.per_host_per_s), ())
            case "webpush":
                return _route(channel, _host(address), address, _quarters(settings.webpush.per_host_per_s), ())
            case "apprise":  # whose host only Apprise knows
                return _route(channel, address, address, (), ())
        return _route(channel, "", address, (), ())

    def _chat(self, address: str) -> Limits:
        """Bots may send one message per second to a chat, and 20 per minute to a group (whose id is negative) or a
        channel: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this"""
        telegram = self.settings.telegram
        if address == NO_CHAT:
            return ()
        chat = (Limit.per_second(telegram.chat_per_s),)
        return (*chat, Limit(telegram.group_per_min, 60_000)) if address.startswith(("-", "@")) else chat


def _eighths(rate: float) -> Limits:
    """Of what everybody's messages go through: a burst leaves room for others soon."""
    return (Limit.per_second(rate, parts=8),)


def _quarters(rate: float) -> Limits:
    """Of a host that should have at once what falls due when a candle closes."""
    return (Limit.per_second(rate, parts=4),)


def _route(channel: ChannelName, host: str, address: str, shared: Limits, own: Limits, *, of: str = "") -> Route:
    """`of`: what the destination's own limits are of, where that is not the address."""
    return Route(
        host=host,
        destination=address,
        shared=Scope(derive("permit", channel, "host", host), shared, alone=not host),
        own=Scope(derive("permit", channel, "destination", of or address), own),
    )


def _host(address: str) -> str:
    try:
        return URL(address).host or address
    except ValueError:
        return address
