"""What a message answers: news of a signal belong below the alert on it. Pure; the sender looks into the ledger.

Which of somebody's rules rang for a signal is not known where its outcome is matched, only which may have. Their
alerts have derived ids, and so have the deliveries of these: whoever sends an answer asks for these few, and alerts
that follow nothing up cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from alerting.matching.causes import Match, alert_id_of
from alerting.matching.rules import Facets, Rules
from alerting.pipeline import deliveries
from tocsin_common.documents import Subscriber
from tocsin_common.events import OrderFilled, OutcomeMeasured, SendDue

CANDIDATES_MAX = 8
"""Alerts on one signal, of one subscriber, that are asked for: hardly anybody has more rules that ring alike."""

News = OutcomeMeasured | OrderFilled
"""Causes that are news of a signal."""


def threaded(
    due: Sequence[SendDue], matches: Iterable[Match], rules: Rules, subscribers: Mapping[str, Subscriber]
) -> list[SendDue]:
    """The same work; what is news of a signal with the deliveries that it may answer."""
    news = {match.alert_id: match.cause for match in matches if isinstance(match.cause, News)}
    if not news:
        return list(due)
    told = defaultdict[str, set[str]](set)
    for one in due:
        if one.alert_id in news:
            told[news[one.alert_id].event_id].add(one.subscriber_id)
    causes = {cause.event_id: cause for cause in news.values()}
    alerts = {event_id: _alerts(cause, rules, told[event_id]) for event_id, cause in causes.items()}
    return [
        _answering(one, alerts[news[one.alert_id].event_id], subscribers) if one.alert_id in news else one
        for one in due
    ]


def _alerts(cause: News, rules: Rules, told: set[str]) -> Mapping[str, list[str]]:
    """By subscriber, the alerts there may have been on the signal."""
    facets: Facets = (cause.exchange, cause.symbol, None, None, None)
    if isinstance(cause, OutcomeMeasured):
        facets = (cause.exchange, cause.symbol, cause.timeframe, cause.strategy, cause.side)
    found = defaultdict[str, list[str]](list)
    for rule in rules.on_signals(facets):
        for name in told.intersection(rule.subscribers):
            if len(found[name]) < CANDIDATES_MAX:
                found[name].append(alert_id_of(rule.rule_id, cause.signal_id))
    return found


def _answering(due: SendDue, alerts: Mapping[str, list[str]], subscribers: Mapping[str, Subscriber]) -> SendDue:
    """At the same place: each destination has a thread of its own."""
    subscriber = subscribers.get(due.subscriber_id)
    if subscriber is None or due.subscriber_id not in alerts:
        return due
    answers = [
        delivery_id
        for alert_id in alerts[due.subscriber_id]
        for delivery_id, place, to in deliveries(alert_id, subscriber)
        if (to.channel, place) == (due.channel, due.place)
    ]
    return msgspec.structs.replace(due, answers=answers)
