"""The channels that the configuration asks for."""

from __future__ import annotations

from alerting.channels import Channel
from alerting.channels.apprise.channel import Apprise
from alerting.channels.challenge import Challenge
from alerting.channels.console import Console
from alerting.channels.discord import Discord
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.channels.telegram import Telegram
from alerting.channels.vapid import signing_key
from alerting.channels.webhook import Webhook
from alerting.channels.webpush import WebPush
from alerting.config import AlertingSection, DiscordSection, LinksSection, WebhookSection, WebPushSection
from alerting.links import Links
from tocsin_common.events import ChannelName


def open_channels(settings: AlertingSection) -> dict[ChannelName, Channel]:
    """Every channel that is configured; those without credentials or server are left out. Nothing connects yet."""
    private = settings.webhook.allow_private
    channels: dict[ChannelName, Channel] = {
        "console": Console(),
        "discord": Discord(_outbound(settings.discord, private)),
        "webhook": Webhook(_outbound(settings.webhook, private)),
    }
    telegram, email = settings.telegram, settings.email
    if telegram.token is not None:
        channels["telegram"] = Telegram(
            telegram.token.get_secret_value(),
            base_url=telegram.base_url,
            timeout_s=telegram.timeout_s,
            connections=telegram.workers,
        )
    if email.host is not None:
        password = email.password.get_secret_value() if email.password else None
        server = Server(email.host, email.port, email.tls, email.timeout_s, email.user, password)
        channels["email"] = Email(server, sender=email.sender, links=links_of(settings.links))
    if (push := settings.webpush).vapid_key is not None:
        key = signing_key(push.vapid_key.get_secret_value())
        channels["webpush"] = WebPush(_outbound(push, private), key, push.contact)
    if (rest := settings.apprise).services:
        channels["apprise"] = Apprise(
            services=rest.services, timeout_s=rest.timeout_s, workers=rest.workers, allow_private=private
        )
    return channels


def open_challenge(settings: AlertingSection) -> Challenge:
    """How webhooks are asked whether they want alerts."""
    return Challenge(_outbound(settings.webhook, settings.webhook.allow_private))


def links_of(section: LinksSection) -> Links | None:
    """None: we cannot be reached from outside."""
    if section.public_url is None or section.key is None:
        return None
    return Links(section.public_url, section.key.get_secret_value())


def _outbound(section: DiscordSection | WebhookSection | WebPushSection, allow_private: bool) -> Outbound:
    return Outbound(timeout_s=section.timeout_s, allow_private=allow_private, connections=section.workers)
