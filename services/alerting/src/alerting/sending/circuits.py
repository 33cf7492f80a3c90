"""The circuits of one channel: one for each receiving host, one for each destination.

A host that cannot be reached, errs or does not answer opens the host's; a destination that does not want us (a chat
that blocked the bot, an endpoint that is gone) opens its own and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import structlog

from alerting.channels import Sent
from alerting.metrics import Metrics
from alerting.reasons import Undelivered
from alerting.sending.breaker import Breaker
from alerting.sending.clock import ClockMs
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import ChannelName

log = structlog.get_logger()

HOST_FAILS = frozenset(
    {
        Undelivered.SERVER_ERROR,
        Undelivered.CONNECTION_FAILED,
        Undelivered.TIMEOUT,
        Undelivered.CONNECTION_LOST,
        Undelivered.BAD_REPLY,
    }
)
DESTINATION_FAILS = frozenset({Undelivered.FORBIDDEN, Undelivered.GONE})
HOST_ANSWERS = DESTINATION_FAILS | {Undelivered.REFUSED, Undelivered.UNAUTHORIZED, Undelivered.REDIRECTED}

SPREAD = 0.25
"""Who waits for an open circuit comes back spread over this part of the wait."""


@dataclass(slots=True)
class Watched:
    """A request's outcome. None: nothing is known."""

    outcome: Sent | Rejected | Retryable | None = None

    def of(self, kind: str) -> bool | None:
        """Whether the host, or the destination, works; None: this does not tell."""
        if self.outcome is None or isinstance(self.outcome, Sent):
            return None if self.outcome is None else True
        reason = self.outcome.reason
        if kind == "host":
            return False if reason in HOST_FAILS else (reason in HOST_ANSWERS or None)
        return False if reason in DESTINATION_FAILS else None


class Circuits:
    """Watches every request. `host` and `destination` are keys of this process, and appear nowhere else."""

    def __init__(self, name: ChannelName, metrics: Metrics, random: Random, clock_ms: ClockMs) -> None:
        self._name = name
        self._random = random
        self._now_ms = clock_ms
        self._breakers: dict[tuple[str, str], Breaker] = {}
        metrics.circuits.labels(name, "open").set_function(lambda: self._count("open"))
        metrics.circuits.labels(name, "half_open").set_function(lambda: self._count("half_open"))

    def check(self, host: str, destination: str) -> None:
        """Raises Retryable while one of the two is left alone."""
        now_ms = self._now_ms()
        wait_s = max(self._of("host", host).wait_s(now_ms), self._of("destination", destination).wait_s(now_ms))
        if wait_s > 0:
            spread = 1 + SPREAD * self._random.random()
            raise Retryable(Undelivered.CIRCUIT_OPEN, "its circuit is open", retry_after_s=wait_s * spread)

    @contextmanager
    def watching(self, host: str, destination: str) -> Iterator[Watched]:
        """Around a request: what is said of its outcome says how the two are. Raises as `check`."""
        self.check(host, destination)
        asked = [(kind, key, self._enter(kind, key)) for kind, key in (("host", host), ("destination", destination))]
        watched = Watched()
        try:
            yield watched
        finally:
            for kind, key, probe in asked:
                self._judge(kind, key, watched.of(kind), probe=probe)

    def _of(self, kind: str, key: str) -> Breaker:
        return self._breakers.get((kind, key)) or Breaker()

    def _enter(self, kind: str, key: str) -> bool:
        breaker = self._breakers.setdefault((kind, key), Breaker())
        if probe := breaker.enter(self._now_ms()):
            log.info("circuit half open, probing", channel=self._name, of=kind)
        return probe

    def _judge(self, kind: str, key: str, works: bool | None, *, probe: bool) -> None:
        breaker = self._breakers.setdefault((kind, key), Breaker())
        before = breaker.opened
        if works:
            breaker.succeed()
        elif works is None:
            breaker.leave(probe=probe)
        else:
            breaker.fail(self._now_ms(), probe=probe)
        if breaker.opened > before:
            wait_s = breaker.wait_s(self._now_ms())
            log.warning("circuit opened", channel=self._name, of=kind, failures=breaker.failures, wait_s=wait_s)
        elif before and not breaker.opened:
            log.info("circuit closed", channel=self._name, of=kind)
        if breaker == Breaker():
            self._breakers.pop((kind, key), None)

    def _count(self, state: str) -> int:
        now_ms = self._now_ms()
        return sum(breaker.state(now_ms) == state for breaker in self._breakers.values())
