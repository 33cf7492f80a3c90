"""Local servers that speak what the channels speak: Telegram's Bot API, SMTP, Discord webhooks, Standard
Webhooks, a web push service, ntfy.

Each listens on a free port of the loopback, keeps every message it accepted, and can be told to misbehave:

    async with WebhookServer(secret="whsec_...") as server:
        server.faults.append(Fault(status=429, retry_after_s=2))
        ... deliver to server.url ...
        await server.wait_for(1)
        server.accepted[0].text
"""

from tests.channels.discord import DiscordServer
from tests.channels.ntfy import NtfyServer
from tests.channels.push import PushServer
from tests.channels.record import WEB_PAGE, Accepted, Fault, Recorder
from tests.channels.smtp import SmtpServer, self_signed
from tests.channels.telegram import TelegramServer
from tests.channels.webhook import WebhookServer

__all__ = [
    "WEB_PAGE",
    "Accepted",
    "DiscordServer",
    "Fault",
    "NtfyServer",
    "PushServer",
    "Recorder",
    "SmtpServer",
    "TelegramServer",
    "WebhookServer",
    "self_signed",
]
