"""How often a rule may ring, in market time. Pure: told what rang, asked whether the next one may.

What rang is on the stream ALERTS. Here is remembered what was read there or decided since, and may be forgotten again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from alerting.matching.causes import Match
from alerting.matching.kept import Kept
from alerting.reasons import Suppressed

MAX_REMEMBERED = 200_000
"""About 40 MB. What is forgotten is read again when it is needed."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is counted by itself: a writing of a rule on one instrument, or (both empty) on all of them."""

    rule_id: str
    revision: int
    exchange: str = ""
    symbol: str = ""


class Rung:
    """When each line rang last; None: never."""

    def __init__(self) -> None:
        self._last: Kept[Line, int] = Kept()
        self._known: dict[Line, None] = {}

    def unknown(self, matches: Iterable[Match]) -> list[Line]:
        """What has to be learned before these can be judged."""
        lines = dict.fromkeys(line for match in matches for line in _lines(match))
        return [line for line in lines if line not in self._known]

    def learn(self, line: Line, ts_ms: int | None) -> None:
        """When a line rang last, as of before the batch in hand."""
        self._known[line] = None
        if ts_ms is not None:
            self._last.settled[line] = ts_ms

    def too_soon(self, match: Match) -> Suppressed | None:
        """Why a rule may not ring again yet; None: it may."""
        rule = match.rule
        if rule.cooldown_s and self._since(_of_rule(match), match.ts_ms) < rule.cooldown_s * 1000:
            return Suppressed.COOLDOWN
        last = self._last.get(_of_instrument(match))
        if last is None:
            return None
        if rule.frequency == "once":
            return Suppressed.ONCE
        if rule.frequency == "once_per_candle" and match.same_candle(last):
            return Suppressed.SAME_CANDLE
        return Suppressed.TOO_OFTEN if match.ts_ms - last < rule.at_most_every_s * 1000 else None

    def note(self, match: Match) -> None:
        """It rings."""
        for line in _lines(match):
            self._last.put(line, match.ts_ms)

    def settle(self) -> None:
        """The batch in hand is published: what it rang stays."""
        self._last.settle()
        for line in list(islice(self._known, max(0, len(self._known) - MAX_REMEMBERED))):
            del self._known[line]
            self._last.settled.pop(line, None)

    def revert(self) -> None:
        """The batch in hand comes again: forget what it rang."""
        self._last.revert()

    def _since(self, line: Line, ts_ms: int) -> float:
        last = self._last.get(line)
        return float("inf") if last is None else ts_ms - last


def _lines(match: Match) -> Iterator[Line]:
    rule = match.rule
    if rule.cooldown_s:
        yield _of_rule(match)
    if rule.frequency != "every" or rule.at_most_every_s:
        yield _of_instrument(match)


def _of_rule(match: Match) -> Line:
    return Line(match.rule.rule_id, match.revision)


def _of_instrument(match: Match) -> Line:
    return Line(match.rule.rule_id, match.revision, match.exchange, match.symbol)
