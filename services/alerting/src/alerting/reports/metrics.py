"""What is counted of reports."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class ReportMetrics:
    """Made once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made = Counter("alerting_reports_made", "Reports made.", ["period"], registry=registry)
        self.left_out = Counter(
            "alerting_reports_left_out", "Reports so late that the next one was nearer.", ["period"], registry=registry
        )
        self.delayed = Counter(
            "alerting_reports_delayed", "Tries to make a report that failed.", ["reason"], registry=registry
        )
