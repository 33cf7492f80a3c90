"""From matches to alerts, ledger entries and due work."""

from __future__ import annotations

import pytest
from tests.alerts import a_signal

from alerting.judging.audience import Doorkeeper
from alerting.judging.limits import Rung
from alerting.judging.silences import Silences
from alerting.matching.causes import Cause, Match
from alerting.matching.prices import Crossing
from alerting.pipeline import Outbox, Pipeline
from alerting.words.render import of_crossing, of_signal
from alerting.words.voice import RECORD
from alerting.words.wording import change, moment, price, words
from tocsin_common.documents import AlertRule, Destination, PriceRule, SignalRule, Subscriber
from tocsin_common.events import AlertRaised, AlertSuppressed, encode

SIGNAL = a_signal(
    confidence=72,
    entry=64_123.5,
    stop=63_000.0,
    targets=[65_247.0, 66_370.5],
    expires_ms=1_723_251_600_000,
    reasons=["EMA 12 crossed above EMA 26", "close is above EMA 200"],
)
CROSSING = Crossing("binance", "BTC/USDT", 65_000.0, "above", 64_999.0, 65_001.2, 1_723_165_200_123, "77")
LEVEL = PriceRule(rule_id="p", name="p", subscribers=["ada"], exchange="binance", symbol="BTC/USDT", level=65_000.0)
PHONE = Destination(channel="telegram", address="4242424242")
HOOK = Destination(channel="webhook", address="https://example.org")


def subscriber(subscriber_id: str = "ada", *destinations: Destination, **given: object) -> Subscriber:
    return Subscriber(subscriber_id=subscriber_id, name="Ada", destinations=list(destinations), **given)  # type: ignore[arg-type]


def run(
    *subscribers: Subscriber, told: list[str] | None = None, rule: AlertRule | None = None, cause: Cause = SIGNAL
) -> Outbox:
    ids = [each.subscriber_id for each in subscribers] if told is None else told
    rule = rule or SignalRule(rule_id="r", name="my rule", subscribers=ids)
    pipeline = Pipeline(Doorkeeper({each.subscriber_id: each for each in subscribers}, Silences()), ttl_ms=60_000)
    return pipeline.run([Match.of(rule, 7, cause, stored_ms=1_000)], Rung(), {}, now_ms=1_005)


def reasons(outbox: Outbox) -> list[str]:
    return [event.reason for event in outbox.alerts if isinstance(event, AlertSuppressed)]


def test_every_destination_of_every_subscriber_gets_one_delivery() -> None:
    outbox = run(subscriber("ada", PHONE, HOOK, HOOK), subscriber("bob", PHONE))
    assert [event.channel for event in outbox.due] == ["telegram", "webhook", "webhook", "telegram"]
    assert len({event.delivery_id for event in outbox.due}) == 4
    assert [event.delivery_id for event in outbox.opened] == [event.delivery_id for event in outbox.due]


def test_the_alert_stands_before_the_ledger_opens_and_the_ledger_before_the_work_is_due() -> None:
    events = run(subscriber("ada", PHONE)).events()
    assert [event.subject.split(".")[0] for event in events] == ["alerts", "deliveries", "send"]


def test_the_signal_goes_along_where_a_picture_of_it_is_shown() -> None:
    mail = Destination(channel="email", address="ada@example.org")
    due = run(subscriber("ada", PHONE, HOOK, mail)).due
    assert {event.channel: event.signal for event in due} == {"telegram": SIGNAL, "webhook": None, "email": SIGNAL}
    [price_due] = run(subscriber("ada", PHONE), rule=LEVEL, cause=CROSSING).due
    assert price_due.signal is None


def test_a_kind_is_silent_for_whom_it_is_and_a_sound_for_others() -> None:
    due = run(subscriber("ada", PHONE, HOOK, preferences={"signal": "silent"}), subscriber("bob", PHONE)).due
    assert {(event.subscriber_id, event.silent) for event in due} == {("ada", True), ("bob", False)}


def test_everybody_reads_it_in_their_language_and_time_and_the_record_is_english() -> None:
    jakarta = {"language": "id", "zone": "Asia/Jakarta"}
    outbox = run(subscriber("ada", PHONE), subscriber("budi", PHONE, **jakarta), subscriber("citra", HOOK, **jakarta))
    ada, budi, citra = outbox.due
    [alert] = outbox.alerts
    assert isinstance(alert, AlertRaised)
    assert (ada.title, ada.fields) == (alert.title, alert.fields)
    assert ada.fields["Seen at"] == "2024-08-09 01:00 UTC"
    assert budi.title == "Beli BTC/USDT, 1h: EMA cross"
    assert budi.fields["Terdeteksi"] == "2024-08-09 08:00 WIB"
    assert (budi.language, budi.zone) == ("id", "Asia/Jakarta")
    assert citra.fields is budi.fields  # rendered once


def test_the_time_to_deliver_counts_from_when_the_cause_was_stored() -> None:
    assert run(subscriber("ada", PHONE)).due[0].deadline_ms == 61_000


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (subscriber("ada", PHONE, enabled=False), "subscriber_disabled"),
        (subscriber("ada", PHONE, muted_until_ms=SIGNAL.confirmed_ms + 1), "muted"),
        (subscriber("ada"), "no_destination"),
    ],
)
def test_a_subscriber_who_is_not_told_is_stated_with_the_reason(who: Subscriber, reason: str) -> None:
    outbox = run(who, subscriber("bob", PHONE))
    assert reasons(outbox) == [reason]
    assert [event.subscriber_id for event in outbox.due] == ["bob"]
    assert next(event for event in outbox.alerts if isinstance(event, AlertRaised)).subscribers == ["bob"]


def test_an_unknown_subscriber_is_stated_too() -> None:
    assert reasons(run(told=["ghost"])) == ["unknown_subscriber"]


def test_a_mute_ends_at_its_moment() -> None:
    assert reasons(run(subscriber("ada", PHONE, muted_until_ms=SIGNAL.confirmed_ms))) == []


def test_a_subscriber_named_twice_is_told_once() -> None:
    assert len(run(subscriber("ada", PHONE), told=["ada", "ada"]).due) == 1


def test_the_same_match_gives_the_same_ids() -> None:
    first, second = run(subscriber("ada", PHONE)), run(subscriber("ada", PHONE))
    assert [event.event_id for event in first.events()] == [event.event_id for event in second.events()]


def test_an_address_never_leaves_the_sender() -> None:
    secret = Destination(channel="webhook", address="https://example.org/?token=SECRET", secret="whsec_U0VDUkVU")
    for event in run(subscriber("ada", secret, PHONE)).events():
        assert b"SECRET" not in encode(event)
        assert b"U0VDUkVU" not in encode(event)
        assert b"4242424242" not in encode(event)
    moved = Destination(channel="webhook", address="https://example.org/elsewhere")
    assert run(subscriber("ada", moved)).due[0].delivery_id == run(subscriber("ada", secret)).due[0].delivery_id


def test_a_signal_reads_as_a_person_would_say_it() -> None:
    content = of_signal(SIGNAL, "my rule", RECORD)
    assert content.title == "Long BTC/USDT, 1h: EMA cross"
    assert content.text == "EMA 12 crossed above EMA 26. Close is above EMA 200."
    assert content.fields == {
        "Entry": "64,123.5",
        "Stop": "63,000 (-1.75 %)",
        "Target 1": "65,247 (+1.75 %, 1.0 R)",
        "Target 2": "66,370.5 (+3.50 %, 2.0 R)",
        "Confidence": "72 of 100",
        "Exchange": "binance",
        "Seen at": "2024-08-09 01:00 UTC",
        "Good until": "2024-08-10 01:00 UTC",
        "Rule": "my rule",
    }


def test_a_crossing_reads_as_a_person_would_say_it() -> None:
    content = of_crossing(CROSSING, "my rule", RECORD)
    assert content.title == "BTC/USDT rose above 65,000"
    assert content.text == "It is at 65,001.2 now, after 64,999."
    assert content.fields["Seen at"] == "2024-08-09 01:00 UTC"


def test_a_price_alert_names_the_crossing_as_its_cause() -> None:
    [alert] = run(subscriber("ada", PHONE), rule=LEVEL, cause=CROSSING).alerts
    assert isinstance(alert, AlertRaised)
    assert (alert.kind, alert.cause_id, alert.ts_ms) == ("price", CROSSING.cause_id, CROSSING.ts_ms)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (64123.5, "64,123.5"),
        (65000.0, "65,000"),
        (1.234e-05, "0.00001234"),
        (0.1 + 0.2, "0.3"),
        (63000.123456789, "63,000.123"),
        (1e-9, "0.000000001"),
        (1_000_000.0, "1,000,000"),
    ],
)
def test_prices_are_written_for_people(value: float, text: str) -> None:
    assert price(value) == text


def test_other_figures_are_written_for_people() -> None:
    assert change(100, 98.25) == "-1.75 %"
    assert moment(1_723_165_201_999) == "2024-08-09 01:00:01 UTC"
    assert [RECORD.duration(seconds) for seconds in (61, 720, 12_600)] == ["61 s", "12 min", "3.5 h"]
    assert [words(name) for name in ("ema_cross", "rsi-reversion", "donchian")] == [
        "EMA cross",
        "RSI reversion",
        "Donchian",
    ]
