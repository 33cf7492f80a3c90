"""What is going to happen in a slice, in an order that does not depend on how time was cut into slices."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

Action = Callable[[], None]


class Kind(IntEnum):
    """What comes first at one place and moment. Leaving comes before entering, so that it frees place and cash."""

    OPEN = 0
    EXPIRE = 1
    CONFIRM = 2
    CLOSE = 3
    END = 4
    ENTER = 5
    MARK = 6


_PHASE = {Kind.OPEN: 0, Kind.EXPIRE: 0, Kind.CONFIRM: 0, Kind.MARK: 2}
"""Within a tick: what time alone does, then (1) what prices do, then the marks that look at the result."""


class Moment(NamedTuple):
    """The place of something in the total order of a market's events; `row` counts only within one instrument."""

    tick: int
    phase: int
    place: str
    row: int
    kind: Kind
    name: str


class Agenda:
    """A queue of actions, earliest moment first. Actions may add later ones while it runs."""

    def __init__(self) -> None:
        self._heap: list[tuple[Moment, int, Action]] = []
        self._added = 0

    def add(self, kind: Kind, tick: int, action: Action, *, name: str, place: str = "", row: int = 0) -> None:
        """Plan an action. Equal moments keep the order in which they were added."""
        self._added += 1
        moment = Moment(tick, _PHASE.get(kind, 1), place, row, kind, name)
        heapq.heappush(self._heap, (moment, self._added, action))

    def run(self) -> None:
        """Do everything, in order."""
        while self._heap:
            _, _, action = heapq.heappop(self._heap)
            action()
