"""What market-ingest counts. Base units, bounded labels, injected registry."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tocsin_common.events import CandlesClosed, Event, TradesReceived
from tocsin_trading.timeframes import TIMEFRAME_MS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CLOSING_SECONDS = (0.1, 0.5, 1.0, 2.0, 2.1, 2.25, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Fine around the grace period, after which a candle without later trades closes; long where a feed was interrupted."""


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
        self.partitions = Gauge("tocsin_ingest_partitions", "Partitions this replica holds.", registry=registry)
        self.left_behind = Gauge(
            "tocsin_ingest_partitions_left_behind", "Partitions the clock does not wait for.", registry=registry
        )
        self.publishing = Histogram(
            "tocsin_ingest_publish_seconds", "Time until a flush was stored.", buckets=_SECONDS, registry=registry
        )
        self.gaps_open = Gauge(
            "tocsin_ingest_gaps_open", "Instruments whose feed is being repaired.", ["exchange"], registry=registry
        )
        self.feed_changes = Counter(
            "tocsin_ingest_feed_changes", "What was announced of feeds.", ["exchange", "state"], registry=registry
        )
        self.reconnects = Counter(
            "tocsin_ingest_connections", "Connections made, the first ones included.", ["exchange"], registry=registry
        )
        self.repaired = Counter(
            "tocsin_ingest_trades_repaired", "Trades published that were fetched.", ["exchange"], registry=registry
        )
        self.stored_delay = Histogram(
            "tocsin_ingest_stored_delay_seconds",
            "From our receiving a live trade to its receipt from the stream.",
            ["exchange"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.closing_delay = Histogram(
            "tocsin_ingest_candle_close_delay_seconds",
            "From the end of a live candle to its receipt from the stream.",
            ["timeframe"],
            buckets=_CLOSING_SECONDS,
            registry=registry,
        )
        self.silence = Gauge(
            "tocsin_ingest_silence_seconds",
            "Since the last sign of life, the longest of an exchange's connections.",
            ["exchange"],
            registry=registry,
        )
        self.rest_requests = Counter(
            "tocsin_ingest_rest_requests", "Requests over REST, by outcome.", ["exchange", "outcome"], registry=registry
        )
        self.rest_weight = Gauge(
            "tocsin_ingest_rest_weight_used", "Weight used of the exchange's minute.", ["exchange"], registry=registry
        )
        self.delay = Histogram(
            "tocsin_ingest_exchange_delay_seconds",
            "From the exchange's time of a trade to our receiving it (live; clock skew included).",
            ["exchange"],
            buckets=_SECONDS,
            registry=registry,
        )

    def published(self, events: Sequence[Event], *, live: bool = False) -> None:
        """Count what has been stored just now."""
        now_s = time.time()
        for exchange, batches in _by_exchange(events).items():
            self._trades.labels(exchange).inc(sum(len(batch.ts_ms) for batch in batches))
            if repaired := sum(len(batch.ts_ms) for batch in batches if batch.repaired):
                self.repaired.labels(exchange).inc(repaired)
            if live:
                observe = self.stored_delay.labels(exchange).observe
                for batch in batches:
                    if not batch.repaired:
                        observe(max(0.0, now_s - batch.received_ms / 1000))
        for event in events:
            if isinstance(event, CandlesClosed):
                self._candles.labels(event.timeframe).inc(len(event.open_ms))
                if live:
                    end_ms = event.open_ms[-1] + TIMEFRAME_MS[event.timeframe]
                    self.closing_delay.labels(event.timeframe).observe(max(0.0, now_s - end_ms / 1000))

    def rejected(self, kind: str, reasons: Mapping[str, int]) -> None:
        for reason, rows in reasons.items():
            self._rejected.labels(kind, reason).inc(rows)


def _by_exchange(events: Sequence[Event]) -> dict[str, list[TradesReceived]]:
    """The trades among events."""
    found: defaultdict[str, list[TradesReceived]] = defaultdict(list)
    for event in events:
        if isinstance(event, TradesReceived):
            found[event.exchange].append(event)
    return found
