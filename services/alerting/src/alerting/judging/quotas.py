"""How much a subscriber may have: alerts a day, rules, silences, destinations. Pure.

Alerts are counted by the days of market time of whoever is told, as everything is. What was told is on the stream
ALERTS; a decision counts at once, and once, when the stream says it as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from alerting.config import QuotasSection
from alerting.digests.periods import next_boundary
from tocsin_common.documents import Quota, Subscriber

DAYS = 150
"""Remembered: three in each of some forty zones, and more, since late alerts belong to days before."""

UNLIMITED = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one subscriber may have; `alerts_per_day` 0: as many as there are."""

    alerts_per_day: int
    rules: int
    silences: int
    destinations: int


class Quotas:
    """`subscribers` is kept current by its owner; what a document does not say is as configured."""

    def __init__(self, subscribers: Mapping[str, Subscriber], configured: QuotasSection) -> None:
        self._subscribers, self._configured = subscribers, configured
        self._told: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._ahead: set[str] = set()

    def limits(self, subscriber_id: str) -> Limits:
        """Of somebody who is known, or not yet."""
        subscriber, usual = self._subscribers.get(subscriber_id), self._configured
        own = (subscriber.quota if subscriber else None) or Quota()
        return Limits(
            alerts_per_day=usual.alerts_per_day if own.alerts_per_day is None else own.alerts_per_day,
            rules=usual.rules if own.rules is None else own.rules,
            silences=usual.silences if own.silences is None else own.silences,
            destinations=usual.destinations if own.destinations is None else own.destinations,
        )

    def reached(self, subscriber: Subscriber, ts_ms: int) -> bool:
        """Whether they were told all they may be on the day of a moment."""
        most = self._most_alerts(subscriber)
        if most == UNLIMITED:
            return False
        return self._told[until(subscriber, ts_ms)].get(subscriber.subscriber_id, 0) >= most

    def decided(self, alert_id: str, told: Iterable[Subscriber], ts_ms: int) -> None:
        """They are told. The batch in hand may come again: an alert counts once."""
        if alert_id not in self._ahead:
            self._ahead.add(alert_id)
            self._count(told, ts_ms)

    def stored(self, alert_id: str, told: Iterable[str], ts_ms: int) -> None:
        """ALERTS says that they are told."""
        if alert_id in self._ahead:
            self._ahead.remove(alert_id)
        else:
            self._count((self._subscribers[name] for name in told if name in self._subscribers), ts_ms)

    def _count(self, told: Iterable[Subscriber], ts_ms: int) -> None:
        for subscriber in told:
            if self._most_alerts(subscriber) != UNLIMITED:
                day = self._told[_midnight(ts_ms, subscriber.zone)]
                day[subscriber.subscriber_id] = day.get(subscriber.subscriber_id, 0) + 1
        while len(self._told) > DAYS:
            del self._told[min(self._told)]

    def _most_alerts(self, subscriber: Subscriber) -> int:
        own = subscriber.quota.alerts_per_day if subscriber.quota else None
        return self._configured.alerts_per_day if own is None else own


def until(subscriber: Subscriber, ts_ms: int) -> int:
    """The end of the day of a moment, ms: midnight where the subscriber is."""
    return _midnight(ts_ms, subscriber.zone)


@lru_cache(maxsize=4096)
def _midnight(ts_ms: int, zone: str) -> int:
    """The next one; asked for everybody whom one alert is for."""
    return next_boundary(ts_ms, "daily", daily_at="00:00", zone=zone)
