"""What is counted of addresses that are asked, say yes, or leave."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class AddressMetrics:
    """Made once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.asked = Counter(
            "alerting_verifications", "Destinations asked whether they want alerts.", ["channel"], registry=registry
        )
        self.confirmed = Counter(
            "alerting_destinations_confirmed", "Destinations that said yes.", ["channel"], registry=registry
        )
        self.unsubscribed = Counter(
            "alerting_destinations_unsubscribed", "Destinations that left by a link.", ["channel"], registry=registry
        )
