"""Metrics shared by all services. The registry is injected, never global, so that a test sees only its own counts."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter


@dataclass(frozen=True, slots=True)
class LoopMetrics:
    """What one consume loop counts; `dead` has the label `reason`."""

    handled: Counter
    retried: Counter
    dead: Counter
    durable: str


class BusMetrics:
    """Counters of all consume loops of a service, labelled by durable. Made once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._handled = Counter(
            "tocsin_messages_handled", "Messages handled and acknowledged.", ["durable"], registry=registry
        )
        self._retried = Counter(
            "tocsin_messages_retried", "Messages that had to wait for another try.", ["durable"], registry=registry
        )
        self._dead = Counter(
            "tocsin_messages_dead", "Messages given up, with a dead letter.", ["durable", "reason"], registry=registry
        )

    def loop(self, durable: str) -> LoopMetrics:
        return LoopMetrics(self._handled.labels(durable), self._retried.labels(durable), self._dead, durable)
