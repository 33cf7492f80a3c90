"""What reconciling counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from market_ingest.reconcile.compare import Verdict


class ReconcileMetrics:
    """Counters of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._candles = Counter(
            "tocsin_reconcile_candles",
            "Closed candles compared with the exchange's own: equal, corrected, added (there was a gap), or "
            "unavailable (the exchange does not give them).",
            ["exchange", "outcome"],
            registry=registry,
        )
        self.waiting = Gauge(
            "tocsin_reconcile_waiting", "Closed candles not compared yet.", ["exchange"], registry=registry
        )

    def judged(self, exchange: str, verdict: Verdict) -> None:
        """Count what a comparison found."""
        for outcome in ("equal", "corrected", "added"):
            self._candles.labels(exchange, outcome).inc(getattr(verdict, outcome))

    def unavailable(self, exchange: str, candles: int) -> None:
        """Count candles that are given up."""
        self._candles.labels(exchange, "unavailable").inc(candles)
