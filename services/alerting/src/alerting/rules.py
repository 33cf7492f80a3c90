"""The rules in force, and what they match. Pure: fed with documents and events, asked for matches.

A signal rule is asked per kind of signal, not per signal: the answer for (exchange, symbol, timeframe, strategy, side)
is remembered until a rule changes. Price rules are sorted by level per instrument, so that a column of prices is
looked up by bisection, whatever the number of rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tocsin_common.documents import AlertRule, PriceRule, SignalRule
from tocsin_common.events import SignalRaised

Direction = Literal["above", "below"]
Instrument = tuple[str, str]
"""Exchange and symbol."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The price rules of one instrument: `rules[i]` watches `levels[i]` (float64, ascending)."""

    levels: NDArray[np.float64]
    rules: tuple[PriceRule, ...]

    def crossed(self, previous: float, prices: NDArray[np.float64]) -> Iterator[tuple[int, PriceRule, Direction]]:
        """Rows of `prices` that cross a level, with the rule that wants to know; `previous` came before row 0.

        A price at the level counts as above it, so crossings of one level alternate: above, below, above ...
        """
        ranks = np.searchsorted(self.levels, np.concatenate(([previous], prices)), side="right")
        for row in np.flatnonzero(ranks[1:] != ranks[:-1]):
            before, after = int(ranks[row]), int(ranks[row + 1])
            direction: Direction = "above" if after > before else "below"
            for rule in self.rules[min(before, after) : max(before, after)]:
                if rule.direction in (direction, "either"):
                    yield int(row), rule, direction


class Rules:
    """All rules by id; disabled ones are kept and never match."""

    def __init__(self) -> None:
        self._rules: dict[str, AlertRule] = {}
        self._revisions: dict[str, int] = {}
        self._by_kind: dict[tuple[str, ...], tuple[SignalRule, ...]] = {}
        self._levels: dict[Instrument, Levels] | None = None

    def __len__(self) -> int:
        return len(self._rules)

    def put(self, rule: AlertRule, revision: int = 0) -> None:
        """`revision` names this writing of the rule."""
        self._rules[rule.rule_id] = rule
        self._revisions[rule.rule_id] = revision
        self._forget_answers()

    def drop(self, rule_id: str) -> None:
        self._rules.pop(rule_id, None)
        self._revisions.pop(rule_id, None)
        self._forget_answers()

    def revision(self, rule: AlertRule) -> int:
        """Which writing of a rule in force this is."""
        return self._revisions[rule.rule_id]

    def for_signal(self, signal: SignalRaised) -> list[SignalRule]:
        """The enabled rules that want this signal, in the order they were made."""
        kind = (signal.exchange, signal.symbol, signal.timeframe, signal.strategy, signal.side)
        rules = self._by_kind.get(kind)
        if rules is None:
            rules = tuple(rule for rule in self._rules.values() if isinstance(rule, SignalRule) and wants(rule, signal))
            self._by_kind[kind] = rules
        return [rule for rule in rules if signal.confidence >= rule.min_confidence]

    def levels_of(self, instrument: Instrument) -> Levels | None:
        """The price levels watched on an instrument; None when there are none."""
        if self._levels is None:
            self._levels = sort_levels(rule for rule in self._rules.values() if isinstance(rule, PriceRule))
        return self._levels.get(instrument)

    def _forget_answers(self) -> None:
        self._by_kind.clear()
        self._levels = None


def wants(rule: SignalRule, signal: SignalRaised) -> bool:
    """Whether a rule wants this kind of signal, whatever its confidence. An empty list means any."""
    return rule.enabled and all(
        not wanted or given in wanted
        for wanted, given in (
            (rule.exchanges, signal.exchange),
            (rule.symbols, signal.symbol),
            (rule.timeframes, signal.timeframe),
            (rule.strategies, signal.strategy),
            (rule.sides, signal.side),
        )
    )


def sort_levels(rules: Iterator[PriceRule]) -> dict[Instrument, Levels]:
    """Group the enabled price rules by instrument and sort them by level (then id)."""
    grouped: dict[Instrument, list[PriceRule]] = {}
    for rule in rules:
        if rule.enabled:
            grouped.setdefault((rule.exchange, rule.symbol), []).append(rule)
    found = {}
    for instrument, group in grouped.items():
        group.sort(key=lambda rule: (rule.level, rule.rule_id))
        found[instrument] = Levels(np.array([rule.level for rule in group]), tuple(group))
    return found
