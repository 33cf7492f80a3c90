"""What a rule matches, and what every cause tells of itself: its id, market time, instrument, strategy and candle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alerting.matching.indicators import Reached
from alerting.matching.moves import Move
from alerting.matching.paper import Drawdown, Opened
from alerting.matching.prices import Crossing
from alerting.matching.system import Trouble
from alerting.matching.volumes import Spike
from alerting.reports.reported import Reported
from alerting.words.voice import Voice
from tocsin_common.documents import Rule
from tocsin_common.events import AlertKind, FeedChanged, OrderFilled, OutcomeMeasured, SignalRaised
from tocsin_common.ids import derive
from tocsin_trading.timeframes import TIMEFRAME_MS


@dataclass(frozen=True, slots=True)
class Trial:
    """Somebody wants to know whether alerts reach them."""

    cause_id: str
    ts_ms: int
    exchange: str = "test"
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Operators have something to say to all subscribers."""

    cause_id: str
    ts_ms: int
    text: str
    exchange: str = "notice"
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Personal:
    """We have something to say to somebody about what is theirs. `key` names the texts, `given` what stands in them in
    a voice; `symbol` says what it is about, and is of no other."""

    cause_id: str
    ts_ms: int
    key: str
    given: Callable[[Voice], Mapping[str, str]]
    symbol: str
    exchange: str = "notice"

    def said(self, voice: Voice) -> tuple[str, str]:
        """Title and text."""
        given = self.given(voice)
        return voice.say(f"{self.key}.title", **given), voice.say(f"{self.key}.text", **given)


Stored = SignalRaised | OutcomeMeasured | FeedChanged | OrderFilled
"""Events that are causes as they are."""

Found = Crossing | Move | Spike | Reached | Opened | Drawdown | Trouble | Reported | Trial | Notice | Personal
"""What was found in events."""

Cause = Stored | Found

KINDS: dict[type[Cause], AlertKind] = {
    SignalRaised: "signal",
    OutcomeMeasured: "outcome",
    FeedChanged: "feed",
    Crossing: "price",
    Move: "move",
    Spike: "volume",
    Reached: "indicator",
    Opened: "paper",
    OrderFilled: "paper",
    Drawdown: "paper",
    Trouble: "system",
    Reported: "report",
    Trial: "test",
    Notice: "notice",
    Personal: "notice",
}


@dataclass(frozen=True, slots=True)
class Match:
    """A rule (in its writing `revision`) and what it matched, with the ids and the market time that follow from them.

    `stored_ms` is when the cause was stored (the server's clock).
    """

    rule: Rule
    revision: int
    cause: Cause
    stored_ms: int
    cause_id: str
    alert_id: str
    ts_ms: int

    @classmethod
    def of(cls, rule: Rule, revision: int, cause: Cause, stored_ms: int) -> Match:
        cause_id = cause_id_of(cause)
        alert_id = alert_id_of(rule.rule_id, cause_id)
        return cls(rule, revision, cause, stored_ms, cause_id, alert_id, time_of(cause))

    @property
    def kind(self) -> AlertKind:
        return KINDS[type(self.cause)]

    @property
    def exchange(self) -> str:
        return self.cause.exchange

    @property
    def symbol(self) -> str:
        """Empty where the cause is a whole exchange."""
        return self.cause.symbol or ""

    @property
    def strategy(self) -> str:
        """Empty where the cause is of none."""
        return self.cause.strategy if isinstance(self.cause, SignalRaised | OutcomeMeasured) else ""

    def same_candle(self, ts_ms: int) -> bool:
        """Whether another market time falls into the candle of this match.

        What is known at the close of a candle belongs to that candle, anything else at that moment to the next one.
        """
        closes = isinstance(self.cause, SignalRaised | Spike | Reached)
        length_ms = TIMEFRAME_MS[_timeframe_of(self.cause) or self.rule.candle]
        return (ts_ms - closes) // length_ms == (self.ts_ms - closes) // length_ms


def alert_id_of(rule_id: str, cause_id: str) -> str:
    return derive("alert", rule_id, cause_id)


def _timeframe_of(cause: Cause) -> str | None:
    return cause.timeframe if isinstance(cause, SignalRaised | OutcomeMeasured | Spike | Reached) else None


def cause_id_of(cause: Cause) -> str:
    return cause.event_id if isinstance(cause, Stored) else cause.cause_id


def time_of(cause: Cause) -> int:
    """When it was first known in the market, ms."""
    match cause:
        case SignalRaised():
            return cause.confirmed_ms
        case OutcomeMeasured():
            return cause.ended_ms
    return cause.ts_ms
