"""Metrics of the signal-engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from signal_engine.engine import Engine
from tocsin_common.events import Event, SignalRaised, StrategyQuarantined

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters and histograms, on the service's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._signals = Counter(
            "tocsin_signals", "Signals published.", ["strategy", "timeframe", "side"], registry=registry
        )
        self._candles = Counter(
            "tocsin_signal_candles", "Candles read, by what became of them.", ["result"], registry=registry
        )
        self._dropped = Counter(
            "tocsin_signals_dropped", "Entries that made no sense.", ["strategy", "reason"], registry=registry
        )
        self._quarantined = Counter(
            "tocsin_strategies_quarantined",
            "Strategies that went off until the restart.",
            ["strategy", "reason"],
            registry=registry,
        )
        self._spent = Counter(
            "tocsin_signal_spent_seconds", "What rounds took, by part and strategy.", ["part"], registry=registry
        )
        self._waited_s = Histogram(
            "tocsin_signal_mark_wait_seconds",
            "From a stored mark of a live market to the beginning of its round.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.partitions = Gauge(
            "tocsin_signal_partitions", "Partitions this replica evaluates, of 64.", registry=registry
        )
        self.clock = Gauge(
            "tocsin_signal_clock_seconds",
            "Market time that all replicas have evaluated, where this one says so for all.",
            registry=registry,
        )
        self.round_s = Histogram(
            "tocsin_signal_round_seconds",
            "One round: read candles, evaluate, publish.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.latency_s = Histogram(
            "tocsin_close_to_signal_seconds",
            "From a candle's close to its stored signal, live markets only.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def published(self, events: Iterable[Event], *, now_ms: int | None) -> None:
        """Count signals newly stored; `now_ms` (our clock) for a live market, None otherwise."""
        for event in events:
            if isinstance(event, SignalRaised):
                self._signals.labels(event.strategy, event.timeframe, event.side).inc()
                if now_ms is not None:
                    self.latency_s.observe((now_ms - event.confirmed_ms) / 1000)

    def collect(self, engine: Engine) -> None:
        """Move what the engine counted since the last call into the metrics."""
        for result, count in engine.tally.items():
            self._candles.labels(result).inc(count)
        for (strategy, reason), count in engine.evaluation.dropped.items():
            self._dropped.labels(strategy, reason).inc(count)
        engine.tally.clear()
        engine.evaluation.dropped.clear()

    def quarantined(self, event: StrategyQuarantined) -> None:
        """Count a strategy that went off."""
        self._quarantined.labels(event.strategy, event.reason).inc()

    def waited(self, waits_ms: Iterable[int]) -> None:
        """Add how long the marks of a live market waited for their round."""
        for wait_ms in waits_ms:
            self._waited_s.observe(wait_ms / 1000)

    def spent(self, seconds: Mapping[str, float]) -> None:
        """Add what the parts of a round took."""
        for part, took_s in seconds.items():
            self._spent.labels(part).inc(took_s)
