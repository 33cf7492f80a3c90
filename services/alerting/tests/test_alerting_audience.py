"""Who is told, and who is spared: rules in force, silences, and what subscribers wish."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.alerts import a_signal

from alerting.judging.audience import Audience, Decided, Doorkeeper
from alerting.judging.limits import Rung
from alerting.judging.silences import Silences
from alerting.matching.causes import Match
from alerting.pipeline import Pipeline, deliveries
from tocsin_common.documents import Destination, Hours, SignalRule, Silence, Subscriber
from tocsin_common.events import AlertRaised, AlertSuppressed

NOON_MS = 1_723_118_400_000
"""2024-08-08 12:00 UTC, a Thursday."""

SIGNAL = a_signal(NOON_MS)
PHONE = Destination(channel="telegram", address="4242")
HOOK = Destination(channel="webhook", address="https://example.org")
MAIL = Destination(channel="email", address="ada@example.org")
MORNING, MIDDAY = Hours(start="06:00", end="12:00"), Hours(start="12:00", end="13:00")


def subscriber(name: str = "ada", *destinations: Destination, **wishes: Any) -> Subscriber:
    return Subscriber(subscriber_id=name, name=name, destinations=list(destinations or [PHONE]), **wishes)


def rule(**given: Any) -> SignalRule:
    return SignalRule(**{"rule_id": "r", "name": "r", "subscribers": ["ada", "bob"], **given})


def silence(**given: Any) -> Silence:
    times = {"starts_ms": NOON_MS - 1000, "ends_ms": NOON_MS + 1000}
    return Silence(**{"silence_id": "quiet", "author": "ann", **times, **given})


def judged(rule: SignalRule, *subscribers: Subscriber, silences: list[Silence] | None = None) -> Audience:
    known = Silences()
    for one in silences or []:
        known.put(one)
    door = Doorkeeper({one.subscriber_id: one for one in subscribers}, known)
    return door.judge(Match.of(rule, 1, SIGNAL, stored_ms=0), Rung(), Decided())


def said(audience: Audience) -> tuple[list[str], dict[str | None, str]]:
    """Who is told, and why others are not."""
    return [one.subscriber_id for one in audience.told], {e.subscriber_id: e.reason for e in audience.spared}


BOTH = (subscriber("ada"), subscriber("bob"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"expires_ms": NOON_MS}, "rule_expired"),
        ({"active_hours": MORNING}, "outside_hours"),
    ],
)
def test_a_rule_out_of_force_spares_everybody_with_one_statement(given: dict[str, Any], reason: str) -> None:
    audience = judged(rule(**given), *BOTH)
    assert said(audience) == ([], {None: reason})
    assert not audience.rings


def test_a_rule_rings_inside_its_hours_and_up_to_its_end() -> None:
    assert said(judged(rule(active_hours=MIDDAY, expires_ms=NOON_MS + 1), *BOTH)) == (["ada", "bob"], {})


@pytest.mark.parametrize(
    "matcher",
    [
        {},
        {"rules": ["r"]},
        {"exchanges": ["kraken", "binance"]},
        {"symbols": ["BTC/USDT"]},
        {"strategies": ["ema_cross"]},
        {"severities": ["info"]},
        {"rules": ["r"], "symbols": ["BTC/USDT"]},
    ],
)
def test_a_silence_spares_everybody_what_it_matches(matcher: dict[str, Any]) -> None:
    audience = judged(rule(), *BOTH, silences=[silence(**matcher)])
    assert said(audience) == ([], {None: "silenced"})
    assert audience.spared[0].silence_id == "quiet"


@pytest.mark.parametrize(
    "matcher",
    [
        {"rules": ["other"]},
        {"exchanges": ["kraken"]},
        {"symbols": ["ETH/USDT"]},
        {"strategies": ["donchian"]},
        {"severities": ["warning", "critical"]},
        {"rules": ["r"], "symbols": ["ETH/USDT"]},
        {"starts_ms": NOON_MS + 1},
        {"ends_ms": NOON_MS},
    ],
)
def test_a_silence_leaves_alone_what_it_does_not_match(matcher: dict[str, Any]) -> None:
    assert said(judged(rule(), *BOTH, silences=[silence(**matcher)])) == (["ada", "bob"], {})


def test_a_silence_for_some_spares_only_them() -> None:
    audience = judged(rule(), *BOTH, silences=[silence(subscribers=["bob"])])
    assert said(audience) == (["ada"], {"bob": "silenced"})
    assert audience.spared[0].silence_id == "quiet"


def test_a_silence_taken_back_is_over() -> None:
    silences = Silences()
    silences.put(silence())
    silences.drop("quiet")
    assert silences.of(Match.of(rule(), 1, SIGNAL, stored_ms=0)) == []


@pytest.mark.parametrize(
    ("who", "severity", "reason"),
    [
        (subscriber(quiet_hours=MIDDAY), "critical", "quiet_hours"),
        (subscriber(quiet_hours=MIDDAY, wakes_for=["critical"]), "warning", "quiet_hours"),
        (subscriber(quiet_hours=MIDDAY, wakes_for=["critical"]), "critical", None),
        (subscriber(quiet_hours=MORNING), "info", None),
        (subscriber(severities=["warning", "critical"]), "info", "severity_off"),
        (subscriber(severities=["warning", "critical"]), "warning", None),
        (subscriber(preferences={"signal": "off"}), "critical", "kind_off"),
        (subscriber(preferences={"signal": "silent", "price": "off"}), "info", None),
        (subscriber(muted_until_ms=NOON_MS + 1, quiet_hours=MIDDAY, wakes_for=["critical"]), "critical", "muted"),
    ],
)
def test_subscribers_are_told_what_they_wish_when_they_wish(who: Subscriber, severity: str, reason: str | None) -> None:
    told, spared = said(judged(rule(subscribers=["ada"], severity=severity), who))
    assert (told, spared) == (([], {"ada": reason}) if reason else (["ada"], {}))


def test_a_rule_goes_out_on_its_channels_only() -> None:
    ada, bob = subscriber("ada", PHONE, HOOK, MAIL, HOOK), subscriber("bob", MAIL)
    only = rule(channels=["telegram", "webhook"])
    assert said(judged(only, ada, bob)) == (["ada"], {"bob": "no_channel"})
    door = Doorkeeper({"ada": ada}, Silences())
    outbox = Pipeline(door, ttl_ms=1).run([Match.of(only, 1, SIGNAL, 0)], Rung(), {}, now_ms=0)
    assert [due.channel for due in outbox.due] == ["telegram", "webhook", "webhook"]
    everywhere = Pipeline(door, ttl_ms=1).run([Match.of(rule(), 1, SIGNAL, 0)], Rung(), {}, now_ms=0)
    assert {due.delivery_id for due in outbox.due} < {due.delivery_id for due in everywhere.due}


NEW, LEFT = replace(MAIL, verified=False), replace(MAIL, enabled=False)


@pytest.mark.parametrize(
    ("destinations", "reason"),
    [
        ([NEW], "not_verified"),
        ([LEFT], "unsubscribed"),
        ([NEW, LEFT], "unsubscribed"),
        ([replace(MAIL, verified=False, enabled=False)], "not_verified"),
    ],
)
def test_who_has_not_confirmed_or_has_unsubscribed_is_not_told(destinations: list[Destination], reason: str) -> None:
    assert said(judged(rule(subscribers=["ada"]), subscriber("ada", *destinations))) == ([], {"ada": reason})
    only_mails = rule(subscribers=["ada"], channels=["email"])
    assert said(judged(only_mails, subscriber("ada", *destinations, PHONE))) == ([], {"ada": reason})


def test_an_alert_goes_where_it_may_go_and_nowhere_else() -> None:
    ada = subscriber("ada", NEW, PHONE, LEFT, MAIL)
    match = Match.of(rule(subscribers=["ada"]), 1, SIGNAL, 0)
    outbox = Pipeline(Doorkeeper({"ada": ada}, Silences()), ttl_ms=1).run([match], Rung(), {}, now_ms=0)
    places = {one.delivery_id: one.destination for one in deliveries(match.alert_id, ada)}
    assert [places[due.delivery_id] for due in outbox.due] == [PHONE, MAIL]
    assert len(places) == 4  # whatever is confirmed later, each keeps its place


def test_an_alert_that_nobody_is_told_of_is_not_raised_and_does_not_count_as_rung() -> None:
    once, rung = rule(subscribers=["ada"], frequency="once"), Rung()
    match = Match.of(once, 1, SIGNAL, stored_ms=0)
    muted = Doorkeeper({"ada": subscriber(muted_until_ms=NOON_MS + 1)}, Silences())
    alerts = Pipeline(muted, ttl_ms=1).run([match], rung, {}, now_ms=0).alerts
    assert [type(alert) for alert in alerts] == [AlertSuppressed]
    willing = Doorkeeper({"ada": subscriber()}, Silences())
    alerts = Pipeline(willing, ttl_ms=1).run([match], rung, {}, now_ms=0).alerts
    assert [type(alert) for alert in alerts] == [AlertRaised]


def test_a_rule_without_subscribers_is_raised_for_whoever_reads_along() -> None:
    assert judged(rule(subscribers=[])).rings


def test_what_was_decided_stands_whatever_was_set_since() -> None:
    match = Match.of(rule(expires_ms=0), 1, SIGNAL, stored_ms=0)
    door = Doorkeeper({"ada": subscriber(enabled=False), "bob": subscriber("bob")}, Silences())
    assert said(door.judge(match, Rung(), Decided(told=["ada"]))) == (["ada"], {})
    assert said(door.judge(match, Rung(), Decided(spared={None}))) == ([], {})
    in_force = Match.of(rule(), 1, SIGNAL, stored_ms=0)
    assert said(door.judge(in_force, Rung(), Decided(spared={"bob"}))) == ([], {"ada": "subscriber_disabled"})
    assert said(door.judge(match, Rung(), Decided(opened={"ada"}))) == (["ada", "bob"], {})


def test_what_is_more_than_for_information_says_so() -> None:
    door = Doorkeeper({"ada": subscriber()}, Silences())
    for severity, shown in (("info", None), ("critical", "Critical")):
        match = Match.of(rule(subscribers=["ada"], severity=severity), 3, SIGNAL, 0)
        [alert] = Pipeline(door, ttl_ms=1).run([match], Rung(), {}, now_ms=0).alerts
        assert isinstance(alert, AlertRaised)
        assert (alert.severity, alert.rule_revision, alert.fields.get("Severity")) == (severity, 3, shown)
