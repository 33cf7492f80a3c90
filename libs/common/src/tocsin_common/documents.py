"""What people set: the documents in the key-value buckets. Unknown keys are refused, limits are checked on reading."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeVar

import msgspec

from tocsin_common.errors import Malformed
from tocsin_common.events import ChannelName, Side

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of a key-value bucket, stored as JSON under its own id."""


class SignalRule(Document, frozen=True, kw_only=True, tag="signal", tag_field="kind"):
    """Alert on signals. An empty list means any; `subscribers` are ids in the bucket `subscribers`."""

    rule_id: Name
    name: Name
    subscribers: list[Name]
    exchanges: list[Name] = []
    symbols: list[Name] = []
    strategies: list[Name] = []
    timeframes: list[Name] = []
    sides: list[Side] = []
    min_confidence: Percent = 0
    enabled: bool = True


class PriceRule(Document, frozen=True, kw_only=True, tag="price", tag_field="kind"):
    """Alert when the price crosses `level` in `direction`, on every crossing."""

    rule_id: Name
    name: Name
    subscribers: list[Name]
    exchange: Name
    symbol: Name
    level: Annotated[float, msgspec.Meta(gt=0)]
    direction: Literal["above", "below", "either"] = "either"
    enabled: bool = True


AlertRule = SignalRule | PriceRule


class Destination(Document, frozen=True, kw_only=True):
    """Where one channel reaches a subscriber.

    `address`: Telegram chat id, e-mail address, Discord or generic webhook URL; for `console` any text.
    `secret`: the `whsec_` signing secret of a generic webhook. Addresses and secrets never leave the sender.
    """

    channel: ChannelName
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    secret: Annotated[str, msgspec.Meta(max_length=200)] = ""
    on_unknown: Literal["resend", "hold"] = "hold"


class Subscriber(Document, frozen=True, kw_only=True):
    """Somebody who gets alerts. `muted_until_ms`: alerts of before that market time are suppressed (0: not muted)."""

    subscriber_id: Name
    name: Name
    destinations: list[Destination]
    enabled: bool = True
    muted_until_ms: int = 0


class Portfolio(Document, frozen=True, kw_only=True):
    """A paper portfolio that follows signals.

    Each entry risks `risk_fraction` of equity between entry and stop; at most `max_position_fraction` of equity
    goes into one position. `fee_rate` is charged on traded value, `slippage_rate` worsens every price,
    `latency_ms` is the time from confirmation to the order's arrival at the exchange.
    """

    portfolio_id: Name
    currency: Name = "USDT"
    cash: Decimal = Decimal(10_000)
    risk_fraction: Decimal = Decimal("0.01")
    max_position_fraction: Decimal = Decimal("0.20")
    fee_rate: Decimal = Decimal("0.001")
    slippage_rate: Decimal = Decimal("0.0005")
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 250
    min_confidence: Percent = 0
    strategies: list[Name] = []
    enabled: bool = True


class ApiKey(Document, frozen=True, kw_only=True):
    """An API key as stored: the SHA-256 of its secret, never the secret."""

    key_id: Name
    name: Name
    secret_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: list[Literal["read"]] = msgspec.field(default_factory=lambda: ["read"])
    expires_ms: int | None = None


T = TypeVar("T")


def encode(document: Document) -> bytes:
    """Serialise a document as JSON."""
    return msgspec.json.encode(document)


def decode(data: bytes, kind: type[T]) -> T:
    """Parse a document of the given type (or union). Raises Malformed naming the field that is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Malformed(f"not a valid {getattr(kind, '__name__', kind)}: {error}") from error
