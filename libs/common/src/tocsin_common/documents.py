"""What people set: the documents in the key-value buckets. Unknown keys are refused, limits are checked on reading."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec

from tocsin_common.events import AlertKind, ChannelName, FeedState, Language, Period, Severity, Side

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=366 * 86_400)]
ClockTime = Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
Frequency = Literal["every", "once", "once_per_candle"]
Preference = Literal["on", "silent", "off"]
Column = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_]*[a-z](_[0-9]+(\.[0-9]+)?)*$", max_length=100)]
PaperEvent = Literal["portfolio_opened", "position_opened", "position_closed", "drawdown"]
SystemEvent = Literal["quarantine", "rounds", "dead_letter"]
Cadence = Literal["hourly", "daily"]
Scope = Literal["read", "manage", "operate"]
SCOPES: tuple[Scope, ...] = ("read", "manage", "operate")
GroupBy = Literal["exchange", "symbol", "strategy", "rule"]


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of a key-value bucket, stored as JSON under its own id."""


class Hours(Document, frozen=True, kw_only=True):
    """A span of every day from `start` up to `end` (`HH:MM`), or up to the next day's `end` where that is not later.

    It goes by the clock on the wall in `zone` (an IANA name): an hour that daylight saving skips is not there, and one
    it repeats is there twice. `days`: only spans that start on these; none given: on all.
    """

    start: ClockTime
    end: ClockTime
    zone: Name = "UTC"
    days: list[Day] = []

    def __post_init__(self) -> None:
        _require_zone(self.zone)


def _require_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone") from error


class Rule(Document, frozen=True, kw_only=True):
    """What every alert rule has. All times are market time: of what happened, not of when it was heard of.

    `subscribers` are ids in the bucket `subscribers`, `owner` is the one it belongs to; `channels` the only ones it
    goes out on. `frequency` and `at_most_every_s` count for each instrument of its own, `cooldown_s` is the least time
    between any two alerts of the rule; 0 is no limit. `candle` is what `once_per_candle` goes by where prices or feeds
    are watched; other rules go by the candle that was closed. The rule rings only in `active_hours`, and before
    `expires_ms`. A rule that is written again starts anew: what it rang before does not count.

    What cannot be delivered within `late_after_s` of its cause being stored (0: however late it is) comes in a digest,
    or is dropped where `late` says so. Alerts that are alike in `group_by` wait for each other for `group_wait_s`, and
    come as one message; none given: each comes for itself.
    """

    rule_id: Name
    name: Name
    subscribers: list[Name]
    owner: Annotated[str, msgspec.Meta(max_length=200)] = ""
    severity: Severity = "info"
    channels: list[ChannelName] = []
    frequency: Frequency = "every"
    candle: Timeframe = "1m"
    at_most_every_s: Seconds = 0
    cooldown_s: Seconds = 0
    active_hours: Hours | None = None
    expires_ms: int | None = None
    late_after_s: Seconds = 900
    late: Literal["digest", "drop"] = "digest"
    group_by: list[GroupBy] = []
    group_wait_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 5
    enabled: bool = True
    note: Annotated[str, msgspec.Meta(max_length=2000)] = ""


class SignalRule(Rule, frozen=True, kw_only=True, tag="signal", tag_field="kind"):
    """Alert on signals. An empty list means any."""

    exchanges: list[Name] = []
    symbols: list[Name] = []
    strategies: list[Name] = []
    timeframes: list[Name] = []
    sides: list[Side] = []
    min_confidence: Percent = 0


class OutcomeRule(Rule, frozen=True, kw_only=True, tag="outcome", tag_field="kind"):
    """Alert when a signal has ended. An empty list means any; the result `target` is any of its targets."""

    exchanges: list[Name] = []
    symbols: list[Name] = []
    strategies: list[Name] = []
    timeframes: list[Name] = []
    sides: list[Side] = []
    results: list[Literal["target", "stop", "expired", "invalidated"]] = []


class FeedRule(Rule, frozen=True, kw_only=True, tag="feed", tag_field="kind"):
    """Alert when an exchange's feed changes its state. An empty list means any."""

    exchanges: list[Name] = []
    symbols: list[Name] = []
    states: list[FeedState] = []


class PriceRule(Rule, frozen=True, kw_only=True, tag="price", tag_field="kind"):
    """Alert when the price crosses `level` in `direction`.

    After a crossing that rang it must first be `rearm_percent` away from the level, on either side; 0: every crossing
    rings.
    """

    exchange: Name
    symbol: Name
    level: Annotated[float, msgspec.Meta(gt=0)]
    direction: Literal["above", "below", "either"] = "either"
    rearm_percent: Annotated[float, msgspec.Meta(ge=0, lt=100)] = 0.0


class MoveRule(Rule, frozen=True, kw_only=True, tag="move", tag_field="kind"):
    """Alert when the price is `percent` above its low (below its high) of the last `window_s`.

    It rings again after it was less than half of that. The window moves in steps of a thirtieth of itself.
    """

    exchange: Name
    symbol: Name
    percent: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    window_s: Annotated[int, msgspec.Meta(ge=60, le=7 * 86_400)]
    direction: Literal["up", "down", "either"] = "either"


class VolumeRule(Rule, frozen=True, kw_only=True, tag="volume", tag_field="kind"):
    """Alert when a candle closes with `factor` times the mean volume of the `candles` before it."""

    exchange: Name
    symbol: Name
    timeframe: Timeframe
    factor: Annotated[float, msgspec.Meta(gt=1)]
    candles: Annotated[int, msgspec.Meta(ge=2, le=500)] = 20


class IndicatorRule(Rule, frozen=True, kw_only=True, tag="indicator", tag_field="kind"):
    """Alert when an indicator of a closed candle is, or goes, beyond a number or another one. Empty lists mean any.

    `left` and `right` are columns that `signal_engine.indicators` publishes (`rsi_14`, `ema_200`), or `close`; `right`
    may be a number. `below` and `above` ring as soon as it is so, `crosses_below` and `crosses_above` only where the
    candle before was not. It rings again after it was not so any more, and `rearm_percent` of `right` away from it.
    """

    left: Column
    operator: Literal["below", "above", "crosses_below", "crosses_above"]
    right: float | Column
    exchanges: list[Name] = []
    symbols: list[Name] = []
    timeframes: list[Timeframe] = []
    rearm_percent: Annotated[float, msgspec.Meta(ge=0, lt=100)] = 0.0

    def __post_init__(self) -> None:
        if self.left == self.right:
            raise ValueError("`left` and `right` are the same")


class PaperRule(Rule, frozen=True, kw_only=True, tag="paper", tag_field="kind"):
    """Alert on what becomes of paper portfolios. An empty list means any.

    `drawdown`: the equity is `drawdown_percent` below its peak; again after it was less than half of that.
    """

    portfolios: list[Name] = []
    events: list[PaperEvent] = []
    symbols: list[Name] = []
    drawdown_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 10.0


class SystemRule(Rule, frozen=True, kw_only=True, tag="system", tag_field="kind"):
    """Alert on the system itself, for operators: strategies taken out, slow rounds, messages given up. An empty list
    means any.

    `reasons` are those of the events: of a quarantine and of a dead letter their `reason`, of rounds `slow` and
    `recovered`.
    """

    events: list[SystemEvent] = []
    services: list[Name] = []
    reasons: list[Name] = []


AlertRule = (
    SignalRule | OutcomeRule | FeedRule | PriceRule | MoveRule | VolumeRule | IndicatorRule | PaperRule | SystemRule
)


class Destination(Document, frozen=True, kw_only=True):
    """Where one channel reaches a subscriber.

    `address`: Telegram chat id, e-mail address, Discord or generic webhook URL, the endpoint of a browser's push
    subscription, an Apprise URL; for `console` any text. `secret`: the `whsec_` signing secret of a generic webhook;
    the `p256dh` and `auth` of a push subscription, apart by a blank. Addresses and secrets never leave the sender.

    `verified`: whoever is reached there wants it. An operator vouches for what they write; what is not verified gets
    nothing but the request to confirm. `enabled`: false once they unsubscribed.
    """

    channel: ChannelName
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    secret: Annotated[str, msgspec.Meta(max_length=200)] = ""
    on_unknown: Literal["resend", "hold"] = "hold"
    verified: bool = True
    enabled: bool = True


class Quota(Document, frozen=True, kw_only=True):
    """What a subscriber may have other than is usual: null is as configured (`alerting.quotas`). Operators set it."""

    alerts_per_day: Annotated[int, msgspec.Meta(ge=0)] | None = None
    rules: Annotated[int, msgspec.Meta(ge=0)] | None = None
    silences: Annotated[int, msgspec.Meta(ge=0)] | None = None
    destinations: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Subscriber(Document, frozen=True, kw_only=True):
    """Somebody who gets alerts. All times are market time.

    `muted_until_ms`: no alerts of before that (0: not muted). `quiet_hours`: none in these, but for the severities in
    `wakes_for`. `severities`: only these, ever; none given: all. `preferences`, by kind of alert: `silent` ones come
    without a sound, `off` ones not at all, and those not named are on. `digests`, by kind of alert or, for kinds not
    named, by severity: these come together, at every full hour or every day at `digest_at`. `reports`: the scheduled
    ones they ask for. They are written to in `language`, with times in `zone` (an IANA name), which also says what an
    hour and a day is. `quota`: what they may have, where operators say something else than for all.
    """

    subscriber_id: Name
    name: Name
    destinations: list[Destination]
    enabled: bool = True
    muted_until_ms: int = 0
    quiet_hours: Hours | None = None
    wakes_for: list[Severity] = []
    severities: list[Severity] = []
    preferences: dict[AlertKind, Preference] = {}
    digests: dict[AlertKind | Severity, Cadence] = {}
    digest_at: ClockTime = "08:00"
    reports: list[Period] = []
    language: Language = "en"
    zone: Name = "UTC"
    quota: Quota | None = None

    def __post_init__(self) -> None:
        _require_zone(self.zone)


class Silence(Document, frozen=True, kw_only=True):
    """No alerts of what it matches, from `starts_ms` up to `ends_ms` of market time; `comment` says why, `author` who.

    An empty list matches everything: a silence with `symbols` alone is for these symbols, whatever the rule.
    """

    silence_id: Name
    starts_ms: int
    ends_ms: int
    author: Name
    comment: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    rules: list[Name] = []
    subscribers: list[Name] = []
    exchanges: list[Name] = []
    symbols: list[Name] = []
    strategies: list[Name] = []
    severities: list[Severity] = []


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
    """An API key as stored: the SHA-256 of its secret, never the secret.

    `read`: the read API, all of it. `manage`: rules, subscribers and silences of `subscriber_id`, and nobody else's.
    `operate`: all of them.
    """

    key_id: Name
    name: Name
    secret_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: list[Scope] = msgspec.field(default_factory=lambda: ["read"])
    expires_ms: int | None = None
    subscriber_id: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def __post_init__(self) -> None:
        if not self.scopes:
            raise ValueError("a key has at least one scope")
        if ("manage" in self.scopes) != bool(self.subscriber_id):
            raise ValueError("the scope `manage` goes with a subscriber, and no other scope does")
        if {"manage", "operate"} <= set(self.scopes):
            raise ValueError("a key has the scope `manage` or `operate`, not both")


def encode(document: Document) -> bytes:
    """Serialise a document as JSON."""
    return msgspec.json.encode(document)
