"""The channels that the configuration asks for."""

from __future__ import annotations

from alerting.channels import Channel
from alerting.channels.console import Console
from alerting.channels.discord import Discord
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.channels.telegram import Telegram
from alerting.channels.webhook import Webhook
from alerting.config import AlertingSection
from tocsin_common.events import ChannelName


def open_channels(settings: AlertingSection) -> dict[ChannelName, Channel]:
    """Every channel that is configured; those without credentials or server are left out. Nothing connects yet."""
    connections = settings.delivery.workers
    private = settings.webhook.allow_private
    webhook = Outbound(timeout_s=settings.webhook.timeout_s, allow_private=private, connections=connections)
    discord = Outbound(timeout_s=settings.discord.timeout_s, allow_private=private, connections=connections)
    channels: dict[ChannelName, Channel] = {
        "console": Console(),
        "discord": Discord(discord),
        "webhook": Webhook(webhook),
    }
    telegram, email = settings.telegram, settings.email
    if telegram.token is not None:
        channels["telegram"] = Telegram(
            telegram.token.get_secret_value(),
            base_url=telegram.base_url,
            timeout_s=telegram.timeout_s,
            connections=connections,
        )
    if email.host is not None:
        password = email.password.get_secret_value() if email.password else None
        server = Server(email.host, email.port, email.tls, email.timeout_s, email.user, password)
        channels["email"] = Email(server, sender=email.sender)
    return channels
