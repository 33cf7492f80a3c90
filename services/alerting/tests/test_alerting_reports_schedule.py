"""When reports are due, by the clock on the wall."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerting.reports.metrics import ReportMetrics
from alerting.reports.office import Office
from alerting.reports.schedule import Due, Schedule
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import DAYS
from tocsin_common.streams import LEASES

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ZONES = [
    "UTC",
    "Asia/Jakarta",
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Africa/Cairo",
]
"""In Santiago, Beirut and Cairo midnight is skipped, in Lord Howe half an hour."""

MOMENTS = st.integers(1_262_304_000, 2_114_380_800).map(lambda seconds: seconds * 1000)
"""Of the years from 2010 to 2036."""

SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(["daily", "weekly"]),
    st.sampled_from(ZONES).map(ZoneInfo),
    st.integers(0, 23),
    st.sampled_from(DAYS),
)


def ms(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_the_weekly_report_is_due_on_monday_at_nine_and_about_the_week_that_is_over() -> None:
    schedule = Schedule("weekly", ZoneInfo("Asia/Jakarta"), 9)
    due = schedule.last(ms("2026-11-18T12:00", "Asia/Jakarta"))
    assert due.due_ms == ms("2026-11-16T09:00", "Asia/Jakarta")
    assert (due.from_ms, due.to_ms) == (ms("2026-11-09", "Asia/Jakarta"), ms("2026-11-16", "Asia/Jakarta"))
    assert schedule.last(due.due_ms) == due
    assert schedule.next(due.due_ms - 1) == due
    assert schedule.last(due.due_ms - 1).to_ms == due.from_ms


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Asia/Jakarta", "2026-03-29", 24),
    ],
)
def test_a_day_has_the_hours_that_its_clock_gives_it(zone: str, day: str, hours: float) -> None:
    noon = datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time()).replace(hour=12)
    due = Schedule("daily", ZoneInfo(zone), 0).last(ms(noon.isoformat(), zone))
    assert (due.to_ms - due.from_ms) / HOUR_MS == hours


def test_a_day_that_a_zone_leaves_out_has_no_report() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    schedule, at_ms, found = Schedule("daily", ZoneInfo("Pacific/Apia"), 0), ms("2011-12-28", "Pacific/Apia"), []
    for _ in range(4):
        due = schedule.next(at_ms)
        at_ms = due.due_ms
        found.append(f"{datetime.fromtimestamp(due.from_ms / 1000, schedule.zone):%d}")
    assert found == ["28", "29", "31", "01"]


@given(SCHEDULES, MOMENTS)
def test_periods_follow_each_other_without_gap_or_overlap(schedule: Schedule, now_ms: int) -> None:
    due, follower = schedule.last(now_ms), schedule.next(now_ms)
    assert due.due_ms <= now_ms < follower.due_ms
    assert due.to_ms == follower.from_ms
    assert due.from_ms < due.to_ms <= due.due_ms
    assert schedule.last(follower.due_ms) == follower
    assert schedule.next(due.due_ms) == follower


@dataclass
class Recorder:
    """A desk that makes everything it is asked for, and remembers it."""

    made: list[Due] = field(default_factory=list)

    async def is_about_us(self, _due: Due) -> bool:
        return True

    async def make(self, due: Due) -> bool:
        self.made.append(due)
        return True


async def live(schedule: Schedule, lives: list[tuple[int, int]]) -> list[Due]:
    """What offices make that live from and until, one after the other; they look whenever something becomes due."""
    bus, recorder, clock, metrics = MemoryBus(), Recorder(), [0], ReportMetrics(CollectorRegistry())
    for begin_ms, end_ms in lives:
        lease = Lease(bus.bucket(LEASES), "reports", f"{begin_ms}".encode())
        office = Office(bus, recorder, [schedule], lease, metrics, clock_ms=lambda: clock[0])  # type: ignore[arg-type]
        clock[0] = begin_ms
        while clock[0] < end_ms:
            await office.make_due()
            clock[0] = schedule.next(clock[0]).due_ms
    return recorder.made


@given(SCHEDULES, MOMENTS, st.lists(st.tuples(st.integers(1, 9 * DAY_MS), st.integers(0, 9 * DAY_MS)), max_size=8))
def test_across_restarts_what_is_due_is_made_once_unless_the_next_one_was_nearer(
    schedule: Schedule, start_ms: int, lengths: list[tuple[int, int]]
) -> None:
    """Lives of random lengths with outages of random lengths between them; the first begins when something is due."""
    begin_ms, lives = schedule.last(start_ms).due_ms, []
    for life_ms, outage_ms in lengths:
        lives.append((begin_ms, begin_ms + life_ms))
        begin_ms += life_ms + outage_ms
    made = asyncio.run(live(schedule, lives))
    assert max(Counter(made).values(), default=1) == 1
    due = schedule.last(start_ms)
    while lives and due.due_ms < lives[-1][1]:
        awake = any(begin <= due.due_ms < end for begin, end in lives)
        back_ms = min(begin for begin, end in lives if end > due.due_ms)
        in_time = schedule.last(back_ms) == due and back_ms < due.pointless_ms
        assert (due in made) == (awake or in_time), due
        due = schedule.next(due.due_ms)
