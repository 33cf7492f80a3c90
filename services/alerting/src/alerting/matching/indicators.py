"""Where indicators of closed candles are, or go, beyond a number or another one. Pure: readings in, what rules look for
out.

Of every series that a rule looks at the last reading is remembered, and of rules that have to be armed again that they
rang there. Both can be taken back to before the batch in hand (see `kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from alerting.matching.kept import Kept
from alerting.matching.levels import Series
from alerting.matching.rules import Rules
from tocsin_common.documents import IndicatorRule
from tocsin_common.events import IndicatorsComputed
from tocsin_common.ids import derive
from tocsin_trading.timeframes import TIMEFRAME_MS

CLOSE = "close"
"""The one column that needs no publishing."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Of a candle that closed at `ts_ms`, at `close`, `left` was beyond `right`: columns, or a number on the right."""

    exchange: str
    symbol: str
    timeframe: str
    left: str
    operator: str
    right: float | str
    left_value: float
    right_value: float
    close: float
    ts_ms: int

    @property
    def cause_id(self) -> str:
        asked = (self.left, self.operator, self.right)
        return derive("reached", self.exchange, self.symbol, self.timeframe, *asked, self.ts_ms)


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """What was read of a series last."""

    open_ms: int
    close: float
    values: dict[str, float]

    @classmethod
    def of(cls, event: IndicatorsComputed) -> Reading:
        return cls(event.open_ms, event.close, event.values)

    def get(self, column: float | str) -> float | None:
        """The value of a column (None: not known), or the number itself."""
        if isinstance(column, str):
            return self.close if column == CLOSE else self.values.get(column)
        return float(column)


Spent = tuple[str, int, str, str, str]
"""Rule, its revision, exchange, symbol and timeframe: it rang there and is not armed again."""


class IndicatorWatch:
    """Finds what rules look for in the readings of series, one after another."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.last: Kept[Series, Reading] = Kept()
        self.spent: Kept[Spent, bool] = Kept()

    def in_readings(
        self, event: IndicatorsComputed, counts: Callable[[IndicatorRule, Reached], bool]
    ) -> Iterator[tuple[IndicatorRule, Reached]]:
        """What rings at one candle; one that is not newer than what was seen is passed over."""
        series = (event.exchange, event.symbol, event.timeframe)
        before = self.last.get(series)
        rules = self._rules.for_readings(series)
        if not rules or (before is not None and event.open_ms <= before.open_ms):
            return
        now = Reading.of(event)
        self.last.put(series, now)
        for rule in rules:
            reached = self._reached(rule, series, before, now)
            if reached is not None and counts(rule, reached):
                if _has_to_be_armed(rule):
                    self.spent.put(self._key(rule, series), True)
                yield rule, reached

    def _reached(self, rule: IndicatorRule, series: Series, before: Reading | None, now: Reading) -> Reached | None:
        left, right = now.get(rule.left), now.get(rule.right)
        if left is None or right is None:
            return None
        far = beyond(rule, left, right)
        key = self._key(rule, series)
        if self.spent.get(key):
            if far <= 0 and -far >= abs(right) * rule.rearm_percent / 100:
                self.spent.put(key, None)
            return None
        if far <= 0 or (rule.operator.startswith("crosses") and not _was_not(rule, before)):
            return None
        closed_ms = now.open_ms + TIMEFRAME_MS[series[2]]
        return Reached(*series, rule.left, rule.operator, rule.right, left, right, now.close, closed_ms)

    def _key(self, rule: IndicatorRule, series: Series) -> Spent:
        return rule.rule_id, self._rules.revision(rule), *series


def _has_to_be_armed(rule: IndicatorRule) -> bool:
    """Crossings alternate with the candles between them; what is so stays so."""
    return rule.rearm_percent > 0 or not rule.operator.startswith("crosses")


def beyond(rule: IndicatorRule, left: float, right: float) -> float:
    """How far the left is beyond the right; 0 or less: it is not."""
    return left - right if rule.operator in ("above", "crosses_above") else right - left


def _was_not(rule: IndicatorRule, before: Reading | None) -> bool:
    """Whether it is known that the reading before was not beyond."""
    left, right = (before.get(rule.left), before.get(rule.right)) if before else (None, None)
    return left is not None and right is not None and beyond(rule, left, right) <= 0
