"""How often a rule may ring, in market time. Pure: told what rang, asked whether the next one may.

What rang is on the stream ALERTS. Here is remembered what was read there or decided since, and may be forgotten again;
it can be taken back to before the batch in hand, because a batch that could not be published is handled again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from alerting.causes import Match
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
        self._settled: dict[Line, int | None] = {}
        self._changed: dict[Line, int | None] = {}

    def unknown(self, matches: Iterable[Match]) -> list[Line]:
        """What has to be learned before these can be judged."""
        lines = dict.fromkeys(line for match in matches for line in _lines(match))
        return [line for line in lines if line not in self._settled]

    def learn(self, line: Line, ts_ms: int | None) -> None:
        """When a line rang last, as of before the batch in hand."""
        self._settled[line] = ts_ms

    def too_soon(self, match: Match) -> Suppressed | None:
        """Why a rule may not ring again yet; None: it may."""
        rule = match.rule
        if rule.cooldown_s and self._since(_of_rule(match), match.ts_ms) < rule.cooldown_s * 1000:
            return Suppressed.COOLDOWN
        last = self._last(_of_instrument(match))
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
            self._changed[line] = match.ts_ms

    def settle(self) -> None:
        """The batch in hand is published: what it rang stays."""
        self._settled.update(self._changed)
        self._changed.clear()
        for line in list(islice(self._settled, max(0, len(self._settled) - MAX_REMEMBERED))):
            del self._settled[line]

    def revert(self) -> None:
        """The batch in hand comes again: forget what it rang."""
        self._changed.clear()

    def _last(self, line: Line) -> int | None:
        return self._changed[line] if line in self._changed else self._settled.get(line)

    def _since(self, line: Line, ts_ms: int) -> float:
        last = self._last(line)
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
    return Line(match.rule.rule_id, match.revision, match.cause.exchange, match.cause.symbol)
