"""When requests may go out so that no window ever sees more than a receiver allows. Pure; times are milliseconds.

A *slot* is the moment for one request. The slots of a receiver are kept in order, and each lies at least a window
behind the one `count` places before it, so any window holds `count` slots at most: unlike with a token bucket, a burst
never adds to the rate. A slot may be used a little late, and requests travel for unequal times; for both a window is
taken longer than it is, by MARGIN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARGIN = 0.04
"""How much longer than asked a window is taken. One half is for slots used late, the other for the way."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any window of `window_ms`, and in each of its `parts` no more than its share, so that
    one burst may not be all that is allowed."""

    count: int
    window_ms: int
    parts: int = 1

    @classmethod
    def per_second(cls, rate: float, *, parts: int = 1) -> Limit:
        """So many in any second; below one, one in so many seconds."""
        count = max(1, math.floor(rate))
        return cls(count, math.ceil(1000 * count / rate), parts)

    @property
    def spaced_ms(self) -> int:
        """How far behind each other slots are that lie `count` places apart."""
        return math.ceil(self.window_ms * (1 + MARGIN))

    def spaces(self) -> Iterator[tuple[int, int]]:
        """How many places apart slots are how far behind each other."""
        yield self.count, self.spaced_ms
        if self.parts > 1:
            part = math.ceil(self.count / self.parts)
            yield part, self.spaced_ms * part // self.count

    @property
    def late_ms(self) -> int:
        """How long after its moment a slot may be used."""
        return math.floor(self.window_ms * MARGIN / 2)


Limits = tuple[Limit, ...]
"""All hold at once; none: there is no limit."""


def next_slot(slots: Sequence[int], limits: Limits, now_ms: int) -> int:
    """The first moment, not before `now_ms`, for the next request after those of `slots` (ascending)."""
    earliest = [now_ms, *slots[-1:]]
    for limit in limits:
        earliest += [slots[-count] + spaced_ms for count, spaced_ms in limit.spaces() if len(slots) >= count]
    return max(earliest)


def reserve(slots: Sequence[int], limits: Limits, now_ms: int, *, wanted: int, until_ms: int) -> list[int]:
    """Up to `wanted` further slots that are not after `until_ms`, in order."""
    kept, found = list(slots), list[int]()
    while len(found) < wanted and (slot := next_slot(kept, limits, now_ms)) <= until_ms:
        kept.append(slot)
        found.append(slot)
    return found


def remembered(slots: Sequence[int], limits: Limits, now_ms: int) -> list[int]:
    """What has to be known of past slots to find the next ones."""
    most = max(limit.count for limit in limits)
    oldest_ms = now_ms - lifetime_ms(limits)
    return [slot for slot in slots[-most:] if slot > oldest_ms]


def lifetime_ms(limits: Limits) -> int:
    """How long a slot matters."""
    return max(limit.spaced_ms for limit in limits)
