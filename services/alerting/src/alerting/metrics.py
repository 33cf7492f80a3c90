"""What alerting counts. Labels are bounded: channels, kinds, and the reasons in `reasons`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)


class Metrics:
    """Made once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._of_alerts(registry)
        self._of_deliveries(registry)
        self._of_receivers(registry)
        self._of_digests(registry)
        self._of_pictures(registry)

    def _of_alerts(self, registry: CollectorRegistry) -> None:
        self.matched = Counter("alerting_alerts_matched", "Alerts raised by a rule.", ["kind"], registry=registry)
        self.suppressed = Counter(
            "alerting_alerts_suppressed", "Subscribers not told of an alert.", ["reason"], registry=registry
        )
        self.rules_unpublished = Gauge(
            "alerting_rules_unpublished", "Rules in force on indicators that nobody publishes.", registry=registry
        )
        self.documents_ignored = Counter(
            "alerting_documents_ignored", "Malformed rules, subscribers and silences.", ["bucket"], registry=registry
        )
        self.documents_changed = Counter(
            "alerting_documents_changed",
            "Rules, subscribers and silences written or deleted by a person.",
            ["kind", "action"],
            registry=registry,
        )
        self.changes_stated_late = Counter(
            "alerting_changes_stated_late",
            "Changes of documents stated by another than their writer, who was killed before, or writes elsewhere.",
            ["kind"],
            registry=registry,
        )

    def _of_deliveries(self, registry: CollectorRegistry) -> None:
        self.queued = Counter("alerting_deliveries_queued", "Deliveries opened.", ["channel"], registry=registry)
        self.sent = Counter("alerting_deliveries_sent", "Deliveries taken.", ["channel"], registry=registry)
        self.retried = Counter(
            "alerting_deliveries_retried", "Attempts to be repeated.", ["channel", "reason"], registry=registry
        )
        self.failed = Counter(
            "alerting_deliveries_failed",
            "Deliveries that ended otherwise than sent.",
            ["channel", "state", "reason"],
            registry=registry,
        )
        self.in_flight = Gauge("alerting_sends_in_flight", "Requests under way.", ["channel"], registry=registry)
        self.circuits = Gauge(
            "alerting_circuits",
            "Hosts and destinations that are left alone (open) or asked once (half_open).",
            ["channel", "state"],
            registry=registry,
        )
        self.send_seconds = Histogram(
            "alerting_send_seconds",
            "From request to answer.",
            ["channel"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.alert_seconds = Histogram(
            "alerting_alert_seconds",
            "From the cause being stored to the first request.",
            ["channel"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def _of_receivers(self, registry: CollectorRegistry) -> None:
        self.receivers_closed = Gauge(
            "alerting_receivers_closed",
            "Hosts and destinations that asked to be left alone for a while.",
            registry=registry,
        )

    def _of_digests(self, registry: CollectorRegistry) -> None:
        self.aside = Counter(
            "alerting_deliveries_aside", "Deliveries put aside for a digest.", ["channel", "reason"], registry=registry
        )
        self.digests = Counter(
            "alerting_digests_opened",
            "Digests, by what their first line waited for.",
            ["channel", "reason"],
            registry=registry,
        )
        self.digest_lines_waiting = Gauge(
            "alerting_digest_lines_waiting", "Lines that wait for a digest, where it is made.", registry=registry
        )

    def _of_pictures(self, registry: CollectorRegistry) -> None:
        self.pictures_drawn = Counter("alerting_pictures_drawn", "Pictures of signals and reports.", registry=registry)
        self.pictures_missing = Counter(
            "alerting_pictures_missing", "Deliveries that went without a picture.", ["reason"], registry=registry
        )
        self.picture_seconds = Histogram(
            "alerting_picture_seconds",
            "From asking for the candles to the picture.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
