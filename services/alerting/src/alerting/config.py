"""The configuration of alerting: how each channel is reached, and how hard a delivery is tried.

What is in hand at a time bounds the connections to a receiver: few to a mail server, many to all webhooks together.
"""

from __future__ import annotations

from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from alerting.channels.apprise.services import SERVICES, Service
from alerting.channels.vapid import signing_key
from alerting.links import KEY_CHARS_MIN, PUBLIC_URL
from tocsin_common.config import CommonSettings, Section
from tocsin_common.documents import Day
from tocsin_common.events import ChannelName


class TelegramSection(Section):
    token: SecretStr | None = Field(
        default=None, description="Bot token from @BotFather; without it the channel is off."
    )
    base_url: str = Field(default="https://api.telegram.org", description="Bot API server, without `/bot<token>`.")
    per_s: float = Field(default=30.0, gt=0, le=1000, description="Messages per second to all chats together.")
    chat_per_s: float = Field(default=1.0, gt=0, le=1000, description="Messages per second to one chat.")
    group_per_min: int = Field(default=20, ge=1, le=1000, description="Messages per minute to one group or channel.")
    timeout_s: float = Field(default=10.0, gt=0, le=20, description="Longest wait for one answer.")
    workers: int = Field(default=16, ge=1, le=500, description="Deliveries in hand at a time.")


class EmailSection(Section):
    host: str | None = Field(default=None, description="SMTP server; without it the channel is off.")
    port: int = Field(default=587, ge=1, le=65535, description="587 goes with `starttls`, 465 with `tls`.")
    user: str | None = Field(default=None, description="Log in as this user; without it mails go out without a login.")
    password: SecretStr | None = Field(default=None, description="Goes with `user`.")
    sender: str = Field(default="", description="The From address, for example `Tocsin <alerts@example.org>`.")
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`none` only for a server on this machine."
    )
    per_s: float = Field(default=20.0, gt=0, le=1000, description="Mails per second to the server.")
    timeout_s: float = Field(default=15.0, gt=0, le=20, description="Longest wait for one answer.")
    workers: int = Field(default=8, ge=1, le=500, description="Deliveries in hand at a time.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.host and "@" not in self.sender:
            raise ValueError("with a host, `sender` must be an e-mail address")
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` go together")
        return self


class ConsoleSection(Section):
    workers: int = Field(default=16, ge=1, le=500, description="Deliveries in hand at a time.")


class DiscordSection(Section):
    timeout_s: float = Field(default=10.0, gt=0, le=20, description="Longest wait for one answer.")
    workers: int = Field(default=16, ge=1, le=500, description="Deliveries in hand at a time.")


class WebhookSection(Section):
    per_host_per_s: float = Field(default=100.0, gt=0, le=1000, description="Requests per second to one host.")
    timeout_s: float = Field(default=10.0, gt=0, le=20, description="Longest wait for one answer.")
    workers: int = Field(default=64, ge=1, le=500, description="Deliveries in hand at a time.")
    allow_private: bool = Field(
        default=False,
        description="Webhook and Discord URLs may also be plain http, use any port and lead to private or loopback "
        "addresses. Only for development: otherwise a subscriber could make this service call its own network.",
    )


class WebPushSection(Section):
    vapid_key: SecretStr | None = Field(
        default=None, description="Our signing key, as `tocsin push-keys` makes it; without it the channel is off."
    )
    contact: str = Field(
        default="",
        description="Whom a push service may tell of trouble: `mailto:` and an address, or an https URL.",
        pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+|)$",
    )
    per_host_per_s: float = Field(default=100.0, gt=0, le=1000, description="Requests per second to one push service.")
    timeout_s: float = Field(default=10.0, gt=0, le=20, description="Longest wait for one answer.")
    workers: int = Field(default=32, ge=1, le=500, description="Deliveries in hand at a time.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.vapid_key is not None:
            signing_key(self.vapid_key.get_secret_value())
            if not self.contact:
                raise ValueError("with a key, `contact` must say whom a push service may tell of trouble")
        return self


class LinksSection(Section):
    public_url: str | None = Field(
        default=None,
        description="Where the gateway is reached from outside, https; without it mails have no links to confirm or "
        "unsubscribe.",
        pattern=PUBLIC_URL,
    )
    key: SecretStr | None = Field(
        default=None,
        description=f"Seals the links, at least {KEY_CHARS_MIN} characters (`openssl rand -base64 32`). A new one "
        "voids the links of all mails sent before.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.public_url is None) != (self.key is None):
            raise ValueError("`public_url` and `key` go together")
        if self.key is not None and len(self.key.get_secret_value()) < KEY_CHARS_MIN:
            raise ValueError(f"`key` must have at least {KEY_CHARS_MIN} characters")
        return self


class AppriseSection(Section):
    services: list[Service] = Field(
        default=[*SERVICES],
        description="What destinations may name, by the scheme of their addresses. None: the channel is off.",
    )
    timeout_s: float = Field(default=15.0, gt=0, le=18, description="Longest wait for one message.")
    workers: int = Field(default=8, ge=1, le=100, description="Deliveries in hand at a time, each on a thread.")


class DeliverySection(Section):
    ttl_s: float = Field(
        default=3600.0, gt=0, le=7 * 86400, description="An alert not delivered after this time expires."
    )
    max_attempts: int = Field(
        default=10, ge=1, le=100, description="Requests per delivery; being told to wait is not counted."
    )


class PictureSection(Section):
    enabled: bool = Field(default=True, description="Telegram and e-mail show a signal with its candles and levels.")
    theme: Literal["dark", "light"] = Field(default="dark", description="The colours of the pictures.")


class ApiSection(Section):
    """What is told of the past (by the bot, in reports) is asked there."""

    url: str = Field(default="http://127.0.0.1:8000", description="The HTTP API of the gateway, without `/api/v1`.")
    key: SecretStr | None = Field(default=None, description="An API key with the scope `read`.")


class ReportsSection(Section):
    daily: bool = Field(default=False, description="Make a report of every day, for subscribers who ask for it.")
    weekly: bool = Field(default=True, description="Make a report of every week, for subscribers who ask for it.")
    zone: str = Field(default="Asia/Jakarta", description="IANA time zone: its days and weeks are reported on.")
    hour: int = Field(default=9, ge=0, le=23, description="When they go out, by the clock of `zone`.")
    weekday: Day = Field(default="mon", description="The day on which the weekly one goes out, and a week begins.")
    operators: frozenset[str] = Field(
        default=frozenset(), description="Subscribers who get every report, whether they ask for it or not."
    )
    min_count: int = Field(
        default=10, ge=1, le=10_000, description="Strategies, symbols and hours with fewer outcomes are not compared."
    )

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("must be the name of a time zone, such as Asia/Jakarta") from None
        return value


class BotSection(Section):
    enabled: bool = Field(
        default=False, description="Whether the Telegram bot answers; `telegram.token` says which one it is."
    )
    self_service: bool = Field(
        default=False, description="Whether anybody who writes to the bot may become a subscriber."
    )
    contact: str = Field(
        default="", max_length=200, description="Whom strangers are told to ask, where `self_service` is off."
    )
    operators: frozenset[int] = Field(
        default=frozenset(), description="Telegram user ids of those who may use the operators' commands."
    )
    exchange: str = Field(default="binance", description="Where prices and new alerts are from.")
    symbols: tuple[str, ...] = Field(
        default=("BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT", "XRP/USDT", "DOGE/USDT"),
        max_length=24,
        description="What the menu of `/alert` offers; others can be typed.",
    )
    answers_per_minute: int = Field(default=20, ge=1, le=600, description="Most answers to one person in a minute.")


_Channel = (
    ConsoleSection | TelegramSection | EmailSection | DiscordSection | WebhookSection | WebPushSection | AppriseSection
)


class QuotasSection(Section):
    """What a subscriber may have, where their document does not say otherwise. Operators are not limited."""

    alerts_per_day: int = Field(
        default=5_000,
        ge=0,
        description="Alerts that one is told in a day by their own clock, 0: all. Others are stated as spared, and "
        "that is said once.",
    )
    rules: int = Field(default=200, ge=0, description="Rules that one may have made.")
    silences: int = Field(default=200, ge=0, description="Silences that one may have made.")
    destinations: int = Field(default=10, ge=0, description="Places that one may be reached at; each gets every alert.")


class AlertingSection(Section):
    console: ConsoleSection = ConsoleSection()
    telegram: TelegramSection = TelegramSection()
    email: EmailSection = EmailSection()
    discord: DiscordSection = DiscordSection()
    webhook: WebhookSection = WebhookSection()
    webpush: WebPushSection = WebPushSection()
    apprise: AppriseSection = AppriseSection()
    links: LinksSection = LinksSection()
    delivery: DeliverySection = DeliverySection()
    picture: PictureSection = PictureSection()
    api: ApiSection = ApiSection()
    reports: ReportsSection = ReportsSection()
    bot: BotSection = BotSection()
    quotas: QuotasSection = QuotasSection()

    def workers(self, channel: ChannelName) -> int:
        """Deliveries that a channel may have in hand at a time."""
        sections: dict[ChannelName, _Channel] = {
            "console": self.console,
            "telegram": self.telegram,
            "email": self.email,
            "discord": self.discord,
            "webhook": self.webhook,
            "webpush": self.webpush,
            "apprise": self.apprise,
        }
        return sections[channel].workers


class Settings(CommonSettings):
    """What this service reads of the configuration."""

    alerting: AlertingSection = AlertingSection()
