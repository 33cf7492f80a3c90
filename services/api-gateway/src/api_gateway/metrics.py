"""Metrics of the api-gateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

COMMIT_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
REQUEST_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counters, gauges and histograms, on the service's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("tocsin_projected_rows", "Rows written, by table.", ["table"], registry=registry)
        self.batches = Counter("tocsin_projected_batches", "Transactions committed.", ["stream"], registry=registry)
        self.rewinds = Counter(
            "tocsin_projector_rewinds",
            "Times the offset was not where expected.",
            ["stream"],
            registry=registry,
        )
        self.commit_s = Histogram(
            "tocsin_projection_commit_seconds",
            "One transaction: offset and rows.",
            ["stream"],
            buckets=COMMIT_BUCKETS_S,
            registry=registry,
        )
        self.lag = Gauge(
            "tocsin_projection_lag",
            "Sequences of a stream not projected yet.",
            ["stream"],
            registry=registry,
        )
        self.active = Gauge(
            "tocsin_projector_active", "1 while this process holds the projector's lock.", registry=registry
        )
        self.requests = Counter(
            "tocsin_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_s = Histogram(
            "tocsin_http_request_seconds",
            "From request to the end of the response; event streams are not measured.",
            ["route"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.sse_clients = Gauge("tocsin_sse_clients", "Clients on the live stream now.", registry=registry)
        self.sse_sent = Counter("tocsin_sse_events", "Live events queued to clients.", ["type"], registry=registry)
        self.sse_dropped = Counter(
            "tocsin_sse_dropped", "Clients disconnected because they read too slowly.", registry=registry
        )
