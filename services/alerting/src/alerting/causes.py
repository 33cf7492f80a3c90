"""What a rule matches, and what every cause tells of itself: its id, market time, instrument, strategy and candle."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.prices import Crossing
from tocsin_common.documents import AlertRule
from tocsin_common.events import SignalRaised
from tocsin_common.ids import derive
from tocsin_trading.timeframes import TIMEFRAME_MS

Cause = SignalRaised | Crossing


@dataclass(frozen=True, slots=True)
class Match:
    """A rule (in its writing `revision`) and what it matched, with the ids and the market time that follow from them.

    `stored_ms` is when the cause was stored (the server's clock).
    """

    rule: AlertRule
    revision: int
    cause: Cause
    stored_ms: int
    cause_id: str
    alert_id: str
    ts_ms: int

    @classmethod
    def of(cls, rule: AlertRule, revision: int, cause: Cause, stored_ms: int) -> Match:
        if isinstance(cause, SignalRaised):
            cause_id, ts_ms = cause.signal_id, cause.confirmed_ms
        else:
            cause_id, ts_ms = cause.cause_id, cause.ts_ms
        return cls(rule, revision, cause, stored_ms, cause_id, derive("alert", rule.rule_id, cause_id), ts_ms)

    @property
    def strategy(self) -> str:
        """Empty where the cause is of none."""
        return self.cause.strategy if isinstance(self.cause, SignalRaised) else ""

    def same_candle(self, ts_ms: int) -> bool:
        """Whether another market time falls into the candle of this match.

        What is known at the close of a candle belongs to that candle, a price at the same moment to the next one.
        """
        if isinstance(self.cause, SignalRaised):
            length_ms, early_ms = TIMEFRAME_MS[self.cause.timeframe], 1
        else:
            length_ms, early_ms = TIMEFRAME_MS[self.rule.candle], 0
        return (ts_ms - early_ms) // length_ms == (self.ts_ms - early_ms) // length_ms
