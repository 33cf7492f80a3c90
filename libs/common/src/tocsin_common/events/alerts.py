"""Facts about alerts and their deliveries, and the dead letters of every service."""

from __future__ import annotations

from typing import Literal

import msgspec

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.events.signals import SignalRaised
from tocsin_common.events.summary import Summary
from tocsin_common.ids import derive

DeliveryState = Literal["queued", "attempting", "retrying", "aside", "sent", "failed", "unknown", "expired", "digested"]
AsideReason = Literal["late", "hourly", "daily", "grouped"]
ChannelName = Literal["console", "telegram", "email", "discord", "webhook", "webpush", "apprise"]
CHANNELS: tuple[ChannelName, ...] = ("console", "telegram", "email", "discord", "webhook", "webpush", "apprise")
AlertKind = Literal[
    "signal", "outcome", "feed", "price", "move", "volume", "indicator", "paper", "system", "report", "test", "notice"
]
Language = Literal["en", "id"]
Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""The most urgent first."""
TERMINAL_STATES: frozenset[DeliveryState] = frozenset({"sent", "failed", "unknown", "expired", "digested"})


class AlertRaised(Event, frozen=True, kw_only=True, tag="alert.v1"):
    """A rule rings. `cause_id` is the signal's id, or the id of whatever else the rule saw.

    `symbol` is empty where a whole exchange is meant. What is of no exchange has a place of its own: `paper` and a
    portfolio, `system` and a service, `report` and `daily` or `weekly`, `test`, `notice`; a test that somebody asked
    for has no rule either, and that of a `notice`, which operators wrote to all, is the notice itself. `rule_revision`
    is which writing of the rule it was, `report` what a scheduled report tells.
    """

    alert_id: str
    rule_id: str
    kind: AlertKind
    cause_id: str
    ts_ms: int
    exchange: str
    symbol: str
    title: str
    text: str
    fields: dict[str, str]
    subscribers: list[str]
    severity: Severity = "info"
    rule_revision: int = 0
    report: Summary | None = None

    @property
    def subject(self) -> str:
        return subjects.alert_raised(self.rule_id, self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        return self.alert_id


class AlertSuppressed(Event, frozen=True, kw_only=True, tag="alert_suppressed.v1"):
    """A rule matched, but a subscriber (None: anybody) is not told; `reason` says why, `silence_id` by what.

    `detail` is what an owner can do about it, where that follows from nothing else.
    """

    alert_id: str
    rule_id: str
    cause_id: str
    subscriber_id: str | None
    ts_ms: int
    reason: str
    silence_id: str = ""
    rule_revision: int = 0
    detail: str = ""

    @property
    def subject(self) -> str:
        return subjects.alert_suppressed(self.rule_id)

    @property
    def event_id(self) -> str:
        return derive("suppressed", self.alert_id, self.subscriber_id, self.reason)


class DeliveryChanged(Event, frozen=True, kw_only=True, tag="delivery.v1"):
    """One step in the life of a delivery, of an alert or a digest. Terminal: sent, failed, unknown, expired, digested.

    `attempt` counts requests started. `at_ms` is our clock. `reason` explains failed, retrying, unknown, expired, aside
    (it waits for a digest) and digested; `provider_ref` is the receiver's own id of the message, where it gave one, or
    the delivery id of the digest. `doubtful`: a request that failed may have been taken all the same. `through_seq`: of
    a digest, the last line (sequence of DIGESTS) that was told.
    """

    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    state: DeliveryState
    attempt: int
    at_ms: int
    reason: str = ""
    provider_ref: str = ""
    doubtful: bool = False
    through_seq: int = 0

    @property
    def subject(self) -> str:
        return subjects.delivery(self.channel, self.delivery_id)

    @property
    def event_id(self) -> str:
        return derive("delivery", self.delivery_id, self.state, self.attempt, self.reason)


class DigestPart(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a box, from a sequence of DIGESTS on."""

    box: str
    first_seq: int


class SendDue(Event, frozen=True, kw_only=True, tag="send.v1"):
    """Work: one message to one subscriber on one channel, not after `deadline_ms` (our clock).

    `kind` (None: a digest), `symbol` and `strategy` are the alert's; `place` is the destination's among those of its
    channel. From `late_ms` on (our clock; 0: never) it is not sent any more but put aside, or given up where it is
    `late_dropped`. `signal` or `report` is what the alert is about, for a channel that shows a picture of it. `silent`:
    it makes no sound. Each severity has a subject of its own: where a queue waits, the more urgent go first. What is
    said is in `language`, with times in `zone` (an IANA time zone). `digest`: it is for these lines, and says when it
    is sent what they are.
    `answers`: deliveries on the same channel; the message is an answer to the first of them that was sent.
    """

    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    title: str
    text: str
    fields: dict[str, str]
    ts_ms: int
    queued_ms: int
    deadline_ms: int
    kind: AlertKind | None = None
    symbol: str = ""
    strategy: str = ""
    place: int = 0
    late_ms: int = 0
    late_dropped: bool = False
    signal: SignalRaised | None = None
    report: Summary | None = None
    answers: list[str] = []
    silent: bool = False
    severity: Severity = "info"
    language: Language = "en"
    zone: str = "UTC"
    digest: DigestPart | None = None

    @property
    def subject(self) -> str:
        return subjects.send(self.channel, self.severity)

    @property
    def event_id(self) -> str:
        return derive("send", self.delivery_id)


class DeadLetter(Event, frozen=True, kw_only=True, tag="dead.v1"):
    """A message no retry can help: the original, byte for byte, and why it was given up."""

    service: str
    stream: str
    seq: int
    original_subject: str
    reason: str
    error: str
    payload: bytes

    @property
    def subject(self) -> str:
        return subjects.dead(self.service, self.original_subject)

    @property
    def event_id(self) -> str:
        return derive("dead", self.service, self.stream, self.seq, content=self.payload)
