"""What is wrong with the system itself: strategies that are off, slow rounds, messages given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin_common.documents import SystemEvent
from tocsin_common.events import DeadLetter, RoundsChanged, StrategyQuarantined
from tocsin_common.streams import DEAD

PLACE = "system"
"""Stands for the exchange of what the system does; a service for its symbol."""

SIGNAL_ENGINE = "signal-engine"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One event that is for operators. `ts_ms` is the market's time, where it has one, else when it was stored."""

    event: StrategyQuarantined | RoundsChanged | DeadLetter
    what: SystemEvent
    service: str
    reason: str
    ts_ms: int

    @classmethod
    def of(cls, event: StrategyQuarantined | RoundsChanged | DeadLetter, stored_ms: int) -> Trouble:
        match event:
            case StrategyQuarantined():
                return cls(event, "quarantine", SIGNAL_ENGINE, event.reason, event.at_ms or stored_ms)
            case RoundsChanged():
                return cls(event, "rounds", SIGNAL_ENGINE, event.pace, event.at_ms)
        return cls(event, "dead_letter", event.service, event.reason, stored_ms)

    @property
    def exchange(self) -> str:
        return PLACE

    @property
    def symbol(self) -> str:
        return self.service

    @property
    def cause_id(self) -> str:
        return self.event.event_id


def of_a_letter(letter: DeadLetter) -> bool:
    """Whether a dead letter holds another one: such a one is nobody's concern, or every failure to tell of a dead
    letter would make the next one."""
    return letter.stream == DEAD.name
