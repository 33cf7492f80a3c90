"""How often one person is answered. In memory: only one replica polls, and a new one may be generous once."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

PEOPLE_MAX = 10_000
"""Those who asked last are remembered."""

WINDOW_MS = 60_000


class Turn(Enum):
    """`TOO_MANY` is said once; then `SILENCE` until the minute is over."""

    YES = "yes"
    TOO_MANY = "too_many"
    SILENCE = "silence"


class Pace:
    """At most `per_minute` answers to a person in a minute, the minute beginning with the first."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._people: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def turn(self, user_id: int, now_ms: int) -> Turn:
        """Count a question; whether it is answered."""
        since_ms, count = self._people.pop(user_id, (now_ms, 0))
        if now_ms - since_ms >= WINDOW_MS:
            since_ms, count = now_ms, 0
        self._people[user_id] = since_ms, count + 1
        if len(self._people) > PEOPLE_MAX:
            self._people.popitem(last=False)
        if count < self._per_minute:
            return Turn.YES
        return Turn.TOO_MANY if count == self._per_minute else Turn.SILENCE
