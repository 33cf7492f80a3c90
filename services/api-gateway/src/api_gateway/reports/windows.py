"""The periods that a report compares, and the hours it speaks of, by the clock on the wall. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin_common.report import HoursOf

WEEK = timedelta(days=7)
USUAL = timedelta(days=28)
"""What is usual is what the four weeks before were: every day of the week counts four times."""

SLICE_MS = 900_000
"""A quarter of an hour: local hours begin on these everywhere, since no zone is off by less than 15 minutes."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Window:
    """`from_ms <= t < to_ms`, UTC."""

    from_ms: int
    to_ms: int

    @property
    def length_ms(self) -> int:
        return self.to_ms - self.from_ms


def window_before(window: Window, zone: ZoneInfo) -> Window:
    """The one that ends where this one begins, as long on the clock: the week before, also where it lost an hour."""
    begin, end = (datetime.fromtimestamp(ms // 1000, zone) for ms in (window.from_ms, window.to_ms))
    before = Window(later(window.from_ms, zone, begin - end), window.from_ms)
    return before if before.length_ms > 0 else Window(window.from_ms - window.length_ms, window.from_ms)


def usual_window(window: Window, zone: ZoneInfo) -> Window:
    """The four weeks before."""
    return Window(later(window.from_ms, zone, -USUAL), window.from_ms)


def hour_name(slice_number: int, zone: ZoneInfo, hours_of: HoursOf) -> str:
    """The local hour of a slice of time since the epoch: `14:00`, or `Mon 14:00`."""
    local = datetime.fromtimestamp(slice_number * SLICE_MS // 1000, zone)
    hour = f"{local.hour:02}:00"
    return hour if hours_of == "day" else f"{DAYS[local.weekday()]} {hour}"


def later(at_ms: int, zone: ZoneInfo, by: timedelta) -> int:
    """Later by so much on the clock of the zone."""
    seconds, rest_ms = divmod(at_ms, 1000)
    return int((datetime.fromtimestamp(seconds, zone) + by).timestamp()) * 1000 + rest_ms
