"""A circuit breaker: after failures in a row a receiver is left alone for a while, then asked once. Pure.

closed --failures in a row--> open --time--> half open --the probe succeeds--> closed
                               ^                 '-------the probe fails---> open, for twice as long
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAILURES = 5
"""So many in a row open a circuit."""

OPEN_FIRST_S, OPEN_MAX_S = 5.0, 300.0

PROBE_S = 1.0
"""Who comes during a probe looks again after this."""

State = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Breaker:
    """One circuit. `opened` counts how often it opened without a success in between."""

    failures: int = 0
    opened: int = 0
    open_until_ms: int = 0
    probing: bool = False

    def state(self, now_ms: int) -> State:
        if not self.opened:
            return "closed"
        return "open" if now_ms < self.open_until_ms else "half_open"

    def wait_s(self, now_ms: int) -> float:
        """How long not to ask; 0: now."""
        state = self.state(now_ms)
        if state == "open":
            return (self.open_until_ms - now_ms) / 1000
        return PROBE_S if state == "half_open" and self.probing else 0.0

    def enter(self, now_ms: int) -> bool:
        """A request begins, where nothing has to wait; True: it is the probe."""
        probe = self.state(now_ms) == "half_open"
        self.probing = self.probing or probe
        return probe

    def leave(self, *, probe: bool) -> None:
        """A request ended, or was never sent, without saying anything about the receiver."""
        if probe:
            self.probing = False

    def succeed(self) -> None:
        """The receiver works, whoever found out."""
        self.failures = self.opened = self.open_until_ms = 0
        self.probing = False

    def fail(self, now_ms: int, *, probe: bool) -> None:
        """A request failed. One that began before the circuit opened says nothing new."""
        self.leave(probe=probe)
        if self.opened and not probe:
            return
        self.failures += 1
        if probe or self.failures >= FAILURES:
            self.opened += 1
            self.open_until_ms = now_ms + int(1000 * min(OPEN_MAX_S, OPEN_FIRST_S * 2.0 ** min(self.opened - 1, 20)))
