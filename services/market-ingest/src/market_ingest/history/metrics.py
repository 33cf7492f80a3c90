"""What fetching the past counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class HistoryMetrics:
    """Counters of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.candles = Counter(
            "tocsin_history_candles", "Candles of the past published.", ["exchange", "timeframe"], registry=registry
        )
        self.pending = Gauge(
            "tocsin_history_pending", "Instruments whose history is not complete yet.", ["exchange"], registry=registry
        )
        self.paused = Counter(
            "tocsin_history_paused_seconds",
            "Waiting for an exchange, by reason.",
            ["exchange", "reason"],
            registry=registry,
        )
        self.given_up = Counter(
            "tocsin_history_given_up",
            "Instruments and timeframes without history until the next start, by reason.",
            ["exchange", "reason"],
            registry=registry,
        )
        self.answered = Counter(
            "tocsin_history_answered",
            "Candles given to who asked, by where they came from.",
            ["origin"],
            registry=registry,
        )
