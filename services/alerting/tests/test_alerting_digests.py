"""What is told together, when, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.alerts import CONFIRMED_MS, a_signal

from alerting.digests.boxes import Boxes
from alerting.digests.compose import MAX_LINES, compose
from alerting.digests.later import GATHER_MS, GRACE_MS, Later, later
from alerting.digests.periods import next_boundary
from alerting.matching.causes import Match
from alerting.words.voice import Voice
from tocsin_common.documents import Cadence, SignalRule, Subscriber
from tocsin_common.events import DigestEnded, DigestLine

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"]
MOMENTS = st.integers(1_577_836_800_000, 1_893_456_000_000)
"""From 2020 to 2030."""


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@given(MOMENTS, st.sampled_from(ZONES), st.times())
def test_every_day_has_its_boundary_once_at_its_time_on_the_wall(after_ms: int, zone: str, at: Any) -> None:
    daily_at = f"{at:%H:%M}"
    first = next_boundary(after_ms, "daily", daily_at=daily_at, zone=zone)
    second = next_boundary(first, "daily", daily_at=daily_at, zone=zone)
    assert after_ms < first <= after_ms + DAY_MS + HOUR_MS
    days = [datetime.fromtimestamp(moment / 1000, ZoneInfo(zone)) for moment in (first, second)]
    assert days[1].date() - days[0].date() == timedelta(1)
    skipped = any(timedelta() != _gap(day) for day in days)
    assert skipped or [f"{day:%H:%M}" for day in days] == [daily_at, daily_at]


def _gap(local: datetime) -> timedelta:
    """By how much the clock was put forward in the hours before."""
    before = (local.astimezone(UTC) - timedelta(hours=2)).astimezone(local.tzinfo)
    return (local.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())


@given(MOMENTS, st.sampled_from(ZONES))
def test_an_hour_ends_where_the_clock_on_the_wall_is_full(after_ms: int, zone: str) -> None:
    found = next_boundary(after_ms, "hourly", daily_at="08:00", zone=zone)
    assert after_ms < found <= after_ms + HOUR_MS
    if zone != "Australia/Lord_Howe":  # there the clock is put forward by half an hour
        assert datetime.fromtimestamp(found / 1000, ZoneInfo(zone)).minute == 0


def test_a_time_that_daylight_saving_skips_comes_later_and_one_that_it_repeats_counts_once() -> None:
    spring = next_boundary(ms("2026-03-29T00:00", "Europe/Berlin"), "daily", daily_at="02:30", zone="Europe/Berlin")
    assert spring == ms("2026-03-29T01:30")
    autumn = next_boundary(ms("2026-10-25T00:00", "Europe/Berlin"), "daily", daily_at="02:30", zone="Europe/Berlin")
    assert autumn == ms("2026-10-25T00:30")
    assert next_boundary(autumn, "daily", daily_at="02:30", zone="Europe/Berlin") == ms("2026-10-26T01:30")


def match(stored_ms: int, **about: Any) -> Match:
    rule = SignalRule(rule_id="r", name="r", subscribers=["ann"], **about)
    return Match.of(rule, 1, a_signal(), stored_ms)


def ann(**about: Any) -> Subscriber:
    return Subscriber(subscriber_id="ann", name="Ann", destinations=[], **about)


NOON_MS = ms("2026-05-05T12:00")


def test_an_alert_comes_by_itself_unless_something_says_otherwise() -> None:
    assert later(match(NOON_MS), ann(digests={"move": "daily"}), now_ms=NOON_MS + 10) is None


@pytest.mark.parametrize(
    ("digests", "cadence"),
    [({"info": "hourly"}, "hourly"), ({"signal": "daily"}, "daily"), ({"info": "hourly", "signal": "daily"}, "daily")],
)
def test_a_digest_is_chosen_by_kind_and_otherwise_by_severity(digests: Any, cadence: Cadence) -> None:
    found = later(match(NOON_MS), ann(digests=digests, zone="Asia/Jakarta"), now_ms=NOON_MS)
    boundary_ms = NOON_MS + HOUR_MS if cadence == "hourly" else ms("2026-05-06T08:00", "Asia/Jakarta")
    assert found == Later(cadence, f"{cadence}-{boundary_ms}", boundary_ms + GRACE_MS)


def test_what_missed_its_boundary_comes_with_the_late_ones() -> None:
    now_ms = NOON_MS + 3 * HOUR_MS
    found = later(match(NOON_MS), ann(digests={"info": "hourly"}), now_ms=now_ms)
    assert found == Later("hourly", "late", now_ms + GATHER_MS)


@pytest.mark.parametrize(
    ("given", "age_s", "late"), [({}, 899, False), ({}, 900, True), ({"late_after_s": 0}, 9999, False)]
)
def test_late_is_what_is_first_seen_after_the_time_of_its_rule(given: Any, age_s: int, late: bool) -> None:
    now_ms = NOON_MS + age_s * 1000
    assert later(match(NOON_MS, **given), ann(), now_ms=now_ms) == (
        Later("late", "late", now_ms + GATHER_MS) if late else None
    )


def test_worthless_when_late_is_left_to_the_sender_to_drop() -> None:
    assert later(match(NOON_MS, late="drop"), ann(), now_ms=NOON_MS + HOUR_MS) is None


def test_a_group_is_what_is_alike_in_the_named_respects() -> None:
    def box(symbol: str, strategy: str, *by: str) -> str:
        rule = SignalRule(rule_id="r", name="r", subscribers=["ann"], group_by=list(by))  # type: ignore[arg-type]
        cause = a_signal(symbol=symbol, strategy=strategy)
        found = later(Match.of(rule, 1, cause, NOON_MS), ann(), now_ms=NOON_MS)
        assert found is not None
        assert (found.reason, found.due_ms) == ("grouped", NOON_MS + 5_000)
        return found.box

    assert box("A/B", "x", "strategy") == box("C/D", "x", "strategy") != box("A/B", "y", "strategy")
    assert box("A/B", "x", "symbol", "strategy") == box("A/B", "x", "strategy", "symbol") != box("A/B", "x", "symbol")


def line(n: int, **about: Any) -> DigestLine:
    usual: dict[str, Any] = {
        "delivery_id": f"d{n}",
        "alert_id": f"a{n}",
        "subscriber_id": "ann",
        "channel": "telegram",
        "place": 0,
        "box": "late",
        "due_ms": n,
        "reason": "late",
        "kind": "signal",
        "symbol": "BTC/USDT",
        "strategy": "ema_cross",
        "ts_ms": CONFIRMED_MS + n * 60_000,
        "stored_ms": CONFIRMED_MS + n * 60_000,
        "title": f"alert {n}",
        "text": "Something crossed.",
        "fields": {"Entry": "100"},
    }
    return DigestLine(**(usual | about))


NOW_MS = CONFIRMED_MS + 2 * HOUR_MS


def test_a_late_digest_lists_its_lines_and_says_from_when_to_when_they_were_held_up() -> None:
    content = compose([line(1, unreachable=True), line(2)], "telegram", Voice(), now_ms=NOW_MS)
    assert content.title == "2 late alerts"
    assert content.text == (
        "You get these together because telegram could not be reached "
        "from 2024-08-09 01:01 UTC to 2024-08-09 03:00 UTC."
        "\n\n2024-08-09 01:01 UTC: alert 1\n2024-08-09 01:02 UTC: alert 2"
    )
    behind = compose([line(1), line(2)], "telegram", Voice(), now_ms=NOW_MS)
    assert behind.text.startswith("You get these together because they were held up from 2024-08-09 01:01 UTC")


def test_a_digest_that_somebody_asked_for_gives_no_reasons() -> None:
    content = compose([line(n, reason="daily", box="daily-1") for n in (1, 2)], "email", Voice("id"), now_ms=NOW_MS)
    assert content.title == "2 peringatan dalam satu hari terakhir"
    assert content.text.startswith("2024-08-09 01:01 UTC: alert 1\n")


def test_one_line_alone_says_all_that_its_alert_would_have_said() -> None:
    content = compose([line(1, reason="grouped", box="group-x")], "telegram", Voice(), now_ms=NOW_MS)
    assert (content.title, content.text, content.fields) == ("alert 1", "Something crossed.", {"Entry": "100"})
    late = compose([line(1)], "telegram", Voice(), now_ms=NOW_MS)
    assert late.fields == {"Entry": "100", "Late by": "2.0 h"}
    assert "held up" in late.text


def test_many_lines_are_counted_by_symbol_and_strategy() -> None:
    many = [line(n, symbol=f"S{n % 25}/USDT" if n % 2 else "BTC/USDT") for n in range(400)]
    listed = compose(many, "telegram", Voice(), now_ms=NOW_MS).text.split("\n")[2:]
    assert listed[0] == "200 × BTC/USDT, EMA cross"
    assert len(listed) == MAX_LINES + 1
    counted = sum(int(one.split(" × ")[0]) for one in listed[:-1])
    assert listed[-1] == f"and {400 - counted} more"


@given(st.lists(st.tuples(st.sampled_from(["late", "hourly-1"]), st.integers(0, 2)), max_size=40), st.data())
def test_whoever_reads_the_lines_from_anywhere_opens_the_same_digests_and_each_line_is_in_one(
    puts: list[tuple[str, int]], data: st.DataObject
) -> None:
    """A keeper reads on, another starts anew at a random moment from the floor: both open the same."""
    stream: list[DigestLine | DigestEnded] = []
    boxes, opened, told = Boxes(), {}, []
    for n, (box, place) in enumerate(puts):
        stream.append(line(n, box=box, place=place))
        boxes.put(stream[-1], len(stream))
        for one in boxes.due(10**6):
            assert one.digest_id not in opened
            opened[one.digest_id] = one
        if data.draw(st.booleans()) and opened:
            digest_id = data.draw(st.sampled_from(sorted(opened)))
            one = opened.pop(digest_id)
            through = data.draw(st.integers(one.first.seq, len(stream)))
            ended = DigestEnded(
                digest_id=digest_id,
                delivery_id=digest_id,
                subscriber_id=one.subscriber_id,
                channel=one.channel,
                place=one.place,
                box=one.box,
                first_seq=one.first.seq,
                through_seq=through,
                state="sent",
            )
            stream.append(ended)
            settled = boxes.end(ended)
            assert settled[0] == one.first
            told += [waiting.delivery_id for waiting in settled]
    assert len(told) == len(set(told))
    assert len(told) + len(boxes) == len(puts)
    again = Boxes()
    for seq, fact in enumerate(stream, start=1):
        if seq >= (boxes.floor_seq or len(stream) + 1):
            again.put(fact, seq) if isinstance(fact, DigestLine) else again.end(fact)
    due_again = {one.digest_id for one in again.due(10**6)}
    assert due_again == set(opened) | {one.digest_id for one in boxes.due(10**6)}
