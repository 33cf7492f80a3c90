"""When the next hourly or daily digest goes out. Pure.

Hours and days are those of the clock on the wall. A time of day that daylight saving skips comes as much later as the
clock was put forward; one that it repeats counts the first time.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from tocsin_common.documents import Cadence

HOUR_MS = 3_600_000


def next_boundary(after_ms: int, cadence: Cadence, *, daily_at: str, zone: str) -> int:
    """The first boundary later than a moment, in ms; `daily_at` is `HH:MM`."""
    local = datetime.fromtimestamp(after_ms / 1000, ZoneInfo(zone))
    if cadence == "hourly":
        offset = local.utcoffset() or timedelta()
        offset_ms = round(offset.total_seconds() * 1000)
        return (after_ms + offset_ms) // HOUR_MS * HOUR_MS + HOUR_MS - offset_ms
    wanted = time.fromisoformat(daily_at)
    for days in count():
        day = local.date() + timedelta(days)
        moment = datetime.combine(day, wanted, ZoneInfo(zone)).astimezone(UTC)
        if (found_ms := round(moment.timestamp() * 1000)) > after_ms:
            return found_ms
    raise AssertionError("there is always a next day")
