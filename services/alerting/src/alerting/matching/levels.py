"""Levels of one column of numbers, sorted, so that it is looked up by bisection, whatever the number of rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from alerting.matching.moves import Side
from tocsin_common.documents import MoveRule, PriceRule

Direction = Literal["above", "below"]
Instrument = tuple[str, str]
"""Exchange and symbol."""

Series = tuple[str, str, str]
"""Exchange, symbol and timeframe."""

EPSILON = 1e-12

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
        first = self.levels.searchsorted(previous, side="right")
        ranks = self.levels.searchsorted(values, side="right")
        if (ranks == first).all():  # nearly always, and all that is done then
            return
        ranks = np.concatenate(([first], ranks))
        for row in np.flatnonzero(ranks[1:] != ranks[:-1]):
            before, after = int(ranks[row]), int(ranks[row + 1])
            direction: Direction = "above" if after > before else "below"
            passed = self.marks[before:after] if after > before else reversed(self.marks[after:before])
            for mark in passed:
                if mark.direction in (direction, "either"):
                    yield int(row), mark, direction


@dataclass(frozen=True, slots=True)
class Moves:
    """The move rules of one instrument with one window: by the price over its low, and by its high over the price."""

    up: Levels[MoveRule]
    down: Levels[MoveRule]


def prices_in_order(rules: Iterable[PriceRule]) -> Levels[PriceRule]:
    """The levels of an instrument's price rules, and those around them where they are rearmed."""
    marks: list[Mark[PriceRule]] = []
    for rule in rules:
        away = rule.level * rule.rearm_percent / 100
        marks.append(Mark(rule.level, rule, rule.direction, sticky=away > 0))
        if away:
            marks += [Mark(rule.level + away, rule, rearms=True), Mark(rule.level - away, rule, rearms=True)]
    return Levels.of(marks)


def rearmed_at(percent: float) -> float:
    """Moves and falls that rang may ring again once they are no farther than this: half as far."""
    return percent / 2


def moves_in_order(rules: Iterable[MoveRule]) -> dict[int, Moves]:
    """An instrument's move rules by `window_s`, each with its percentage, and where it is rearmed."""
    windows: dict[int, list[MoveRule]] = {}
    for rule in rules:
        windows.setdefault(rule.window_s, []).append(rule)
    return {window_s: Moves(_side(group, "up"), _side(group, "down")) for window_s, group in windows.items()}


def _side(rules: Iterable[MoveRule], side: Side) -> Levels[MoveRule]:
    marks = []
    for rule in rules:
        if rule.direction in (side, "either") and (side == "up" or rule.percent < 100):
            marks.append(Mark(_ratio(rule.percent, side), rule, "above", sticky=True))
            marks.append(Mark(_ratio(rearmed_at(rule.percent), side), rule, "below", rearms=True))
    return Levels.of(marks)


def _ratio(percent: float, side: Side) -> float:
    """So far above the low, or below the high; a trace less, so that 1.07 is 7 % above 1."""
    return (1 + percent / 100 if side == "up" else 1 / (1 - percent / 100)) - EPSILON
