"""What market-ingest counts. Base units, bounded labels, injected registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tocsin_common.events import CandlesClosed, Event, TradesReceived

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class IngestMetrics:
    """Counters of one running ingest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._trades = Counter("tocsin_ingest_trades", "Trades published.", ["exchange"], registry=registry)
        self._candles = Counter("tocsin_ingest_candles", "Closed candles published.", ["timeframe"], registry=registry)
        self._rejected = Counter(
            "tocsin_ingest_rejected", "Rows that were not let in.", ["kind", "reason"], registry=registry
        )
        self.late = Counter(
            "tocsin_ingest_trades_late", "Trades of intervals that were already over.", registry=registry
        )
        self.duplicates = Counter("tocsin_ingest_trades_duplicate", "Trades seen before.", registry=registry)
        self.marks = Counter("tocsin_ingest_marks", "Marks of the market clock.", registry=registry)
        self.lag_pauses = Counter(
            "tocsin_ingest_lag_pauses", "Pauses because a consumer of marks was too far behind.", registry=registry
        )
        self.clock = Gauge("tocsin_ingest_clock_seconds", "Where the market clock stands.", registry=registry)
        self.publishing = Histogram(
            "tocsin_ingest_publish_seconds", "Time until a flush was stored.", buckets=_SECONDS, registry=registry
        )
        self.delay = Histogram(
            "tocsin_ingest_exchange_delay_seconds",
            "From the exchange's time of a trade to our receiving it (live; clock skew included).",
            ["exchange"],
            buckets=_SECONDS,
            registry=registry,
        )

    def published(self, events: Sequence[Event]) -> None:
        """Count what has been stored."""
        for event in events:
            if isinstance(event, TradesReceived):
                self._trades.labels(event.exchange).inc(len(event.ts_ms))
            elif isinstance(event, CandlesClosed):
                self._candles.labels(event.timeframe).inc(len(event.open_ms))

    def rejected(self, kind: str, reasons: Mapping[str, int]) -> None:
        for reason, rows in reasons.items():
            self._rejected.labels(kind, reason).inc(rows)
