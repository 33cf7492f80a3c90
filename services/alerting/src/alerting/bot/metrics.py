"""What the bot counts. Labels are bounded: commands are our own names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class BotMetrics:
    """Made once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.polling = Gauge(
            "alerting_bot_polling", "1 where this replica asks Telegram for updates.", registry=registry
        )
        self.poll_failures = Counter(
            "alerting_bot_poll_failures", "Requests for updates without an answer.", ["reason"], registry=registry
        )
        self.asked = Counter("alerting_bot_asked", "Updates handled.", ["command", "outcome"], registry=registry)
        self.answers = Counter("alerting_bot_answers", "What became of their answers.", ["state"], registry=registry)
        self.answer_seconds = Histogram(
            "alerting_bot_answer_seconds", "From update to answer.", buckets=SECONDS, registry=registry
        )
