"""Marks of CLOCK, and where the first new one is."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed, Rejected
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK
from tocsin_common.subjects import clock

STEP = 8
"""How many times farther back each look goes than the one before: a mark too many is only skipped once more."""


@dataclass(frozen=True, slots=True)
class Position:
    """A sequence on CLOCK, and when its message was stored (ms, the server's clock; 0: at the beginning)."""

    seq: int = 0
    stored_ms: int = 0


def mark_of(item: Incoming) -> ClockAdvanced:
    """The mark of a message. Raises Rejected when it is none."""
    if not isinstance(item.event, ClockAdvanced):
        raise Rejected("unexpected_event", f"{type(item.event).__name__} on {item.message.subject}")
    return item.event


async def before_first_new(bus: Bus, last: ClockAdvanced, last_seq: int) -> Position:
    """A market mark that `last` covers, with at most a few others after it before the first one that is new.

    `last_seq` is where `last` itself is: what came after it is new. Raises Unreachable.
    """
    step = 2
    while step < last_seq * STEP:
        found = await bus.page(CLOCK, clock("market"), after=max(0, last_seq - step), limit=1)
        for message in found:
            if message.seq < last_seq and _is_covered(last, message):
                return Position(message.seq, message.stored_ms)
        step *= STEP
    return Position()


def _is_covered(last: ClockAdvanced, message: Received) -> bool:
    try:
        mark = message.event()
    except Malformed:
        return False
    return isinstance(mark, ClockAdvanced) and last.covers(mark)
