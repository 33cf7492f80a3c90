"""Levels of one column of numbers, sorted, so that it is looked up by bisection, whatever the number of rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tocsin_common.documents import MoveRule, PriceRule

Direction = Literal["above", "below"]
Instrument = tuple[str, str]
"""Exchange and symbol."""

Series = tuple[str, str, str]
"""Exchange, symbol and timeframe."""

R = TypeVar("R", PriceRule, MoveRule)


@dataclass(frozen=True, slots=True)
class Mark(Generic[R]):
    """A level of a rule: where it rings when crossed in `direction`, or (`rearms`) where it may ring again.

    `sticky`: once it rang, it does not ring again before it is rearmed.
    """

    level: float
    rule: R
    direction: Direction | Literal["either"] = "either"
    rearms: bool = False
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Levels(Generic[R]):
    """`marks[i]` is at `levels[i]` (float64, ascending)."""

    levels: NDArray[np.float64]
    marks: tuple[Mark[R], ...]

    @classmethod
    def of(cls, marks: Iterable[Mark[R]]) -> Levels[R]:
        ordered = tuple(sorted(marks, key=lambda mark: (mark.level, mark.rule.rule_id)))
        return cls(np.array([mark.level for mark in ordered]), ordered)

    def crossed(self, previous: float, values: NDArray[np.float64]) -> Iterator[tuple[int, Mark[R], Direction]]:
        """Rows of `values` that cross a level, with its mark, in the order of the way; `previous` came before row 0.

        A value at the level counts as above it, so crossings of one level alternate: above, below, above ...
        """
        ranks = np.searchsorted(self.levels, np.concatenate(([previous], values)), side="right")
        for row in np.flatnonzero(ranks[1:] != ranks[:-1]):
            before, after = int(ranks[row]), int(ranks[row + 1])
            direction: Direction = "above" if after > before else "below"
            passed = self.marks[before:after] if after > before else reversed(self.marks[after:before])
            for mark in passed:
                if mark.direction in (direction, "either"):
                    yield int(row), mark, direction


@dataclass(frozen=True, slots=True)
class Moves:
    """The move rules of one instrument with one window: by the rise above its low and the fall below its high, in %."""

    up: Levels[MoveRule]
    down: Levels[MoveRule]


def price_levels(rules: Iterable[PriceRule]) -> dict[Instrument, Levels[PriceRule]]:
    """Price rules by instrument, each with its level, and those around it where it is rearmed."""
    grouped: dict[Instrument, list[Mark[PriceRule]]] = {}
    for rule in rules:
        marks = grouped.setdefault((rule.exchange, rule.symbol), [])
        away = rule.level * rule.rearm_percent / 100
        marks.append(Mark(rule.level, rule, rule.direction, sticky=away > 0))
        if away:
            marks += [Mark(rule.level + away, rule, rearms=True), Mark(rule.level - away, rule, rearms=True)]
    return {instrument: Levels.of(marks) for instrument, marks in grouped.items()}


def move_levels(rules: Iterable[MoveRule]) -> dict[Instrument, dict[int, Moves]]:
    """Move rules by instrument and `window_s`, each with its percentage, and half of it where it is rearmed."""
    grouped: dict[Instrument, dict[int, list[MoveRule]]] = {}
    for rule in rules:
        grouped.setdefault((rule.exchange, rule.symbol), {}).setdefault(rule.window_s, []).append(rule)
    return {
        instrument: {window_s: Moves(_side(group, "up"), _side(group, "down")) for window_s, group in windows.items()}
        for instrument, windows in grouped.items()
    }


def _side(rules: Iterable[MoveRule], side: Literal["up", "down"]) -> Levels[MoveRule]:
    marks = []
    for rule in rules:
        if rule.direction in (side, "either"):
            marks.append(Mark(rule.percent, rule, "above", sticky=True))
            marks.append(Mark(rule.percent / 2, rule, "below", rearms=True))
    return Levels.of(marks)
