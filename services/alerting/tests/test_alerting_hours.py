"""Hours as the clock on the wall shows them: past midnight, and where daylight saving bends the day."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.judging.hours import within
from tocsin_common.decoding import decode
from tocsin_common.documents import DAYS, Day, Hours
from tocsin_common.errors import Malformed

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Jakarta", "Australia/Lord_Howe")
MINUTE_MS = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def inside(hours: Hours, text: str) -> bool:
    return within(hours, ms(text))


def test_a_span_has_its_start_and_not_its_end() -> None:
    office = Hours(start="09:00", end="17:30")
    assert [inside(office, f"2024-05-06T{clock}") for clock in ("08:59:59", "09:00", "17:29:59", "17:30")] == [
        False,
        True,
        True,
        False,
    ]


def test_hours_are_those_of_their_zone() -> None:
    jakarta = Hours(start="09:00", end="10:00", zone="Asia/Jakarta")
    assert inside(jakarta, "2024-05-06T02:30")
    assert not inside(jakarta, "2024-05-06T09:30")


def test_a_night_belongs_to_the_day_it_starts_on() -> None:
    friday_night = Hours(start="22:00", end="06:00", days=["fri"])
    assert inside(friday_night, "2024-05-10T23:00")
    assert inside(friday_night, "2024-05-11T05:59")
    assert not inside(friday_night, "2024-05-10T05:00"), "that is Thursday's night"
    assert not inside(friday_night, "2024-05-11T22:00")


def test_a_span_that_ends_where_it_starts_is_the_whole_day() -> None:
    monday = Hours(start="06:00", end="06:00", days=["mon"])
    assert inside(monday, "2024-05-06T06:00")
    assert inside(monday, "2024-05-07T05:59")
    assert not inside(monday, "2024-05-07T06:00")


def test_daylight_saving_skips_an_hour_and_repeats_one() -> None:
    small_hours = Hours(start="02:00", end="03:00", zone="Europe/Berlin")
    assert minutes(small_hours, "2024-03-31T00:00") == 0
    assert minutes(small_hours, "2024-05-06T00:00") == 60
    assert minutes(small_hours, "2024-10-27T00:00") == 120


def minutes(hours: Hours, midnight: str) -> int:
    """How many minutes of a day (in the zone of the hours) lie in them."""
    first = datetime.fromisoformat(midnight).replace(tzinfo=ZoneInfo(hours.zone))
    last = datetime.fromisoformat(midnight.replace("T00:00", "T23:59")).replace(tzinfo=ZoneInfo(hours.zone))
    start_ms, end_ms = int(first.timestamp() * 1000), int(last.timestamp() * 1000) + MINUTE_MS
    return sum(within(hours, ts_ms) for ts_ms in range(start_ms, end_ms, MINUTE_MS))


CLOCKS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))
MOMENTS = st.one_of(
    st.integers(ms("2024-01-01"), ms("2025-01-01")),
    st.integers(ms("2024-03-31T00:00"), ms("2024-03-31T03:00")),
    st.integers(ms("2024-10-27T00:00"), ms("2024-10-27T03:00")),
)


@given(start=CLOCKS, end=CLOCKS, zone=st.sampled_from(ZONES), ts_ms=MOMENTS)
def test_every_moment_is_in_the_hours_or_in_the_rest_of_the_day(start: str, end: str, zone: str, ts_ms: int) -> None:
    hours = Hours(start=start, end=end, zone=zone)
    rest = Hours(start=end, end=start, zone=zone)
    assert within(hours, ts_ms) != within(rest, ts_ms) or start == end
    assert within(hours, ts_ms) or start != end


@given(start=CLOCKS, end=CLOCKS, zone=st.sampled_from(ZONES), ts_ms=MOMENTS)
def test_hours_on_every_day_are_the_spans_of_the_single_days(start: str, end: str, zone: str, ts_ms: int) -> None:
    hours = Hours(start=start, end=end, zone=zone)
    on: list[Day] = [day for day in DAYS if within(msgspec.structs.replace(hours, days=[day]), ts_ms)]
    assert len(on) == within(hours, ts_ms)


@pytest.mark.parametrize(
    "given", [{"zone": "Mars/Base"}, {"zone": "../etc/passwd"}, {"start": "9:00"}, {"days": ["sol"]}]
)
def test_hours_that_cannot_be_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        decode(msgspec.json.encode({"start": "09:00", "end": "10:00", **given}), Hours)
