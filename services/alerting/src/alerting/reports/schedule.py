"""When a report is due and what it is about, by the clock on the wall. Pure.

A day lasts from midnight to midnight in its zone, whatever its hours. A midnight that daylight saving skips is when the
clock jumps, an hour that it skips comes as much later; of one that it repeats the first counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tocsin_common.documents import DAYS, Day
from tocsin_common.events import Period

LENGTHS: dict[Period, int] = {"daily": 1, "weekly": 7}
"""Days."""


@dataclass(frozen=True, slots=True)
class Due:
    """A report of `from_ms <= t < to_ms` that was or will be due at `due_ms`."""

    period: Period
    zone: str
    from_ms: int
    to_ms: int
    due_ms: int

    @property
    def pointless_ms(self) -> int:
        """From then on it is not made any more: the next one is nearer."""
        return self.due_ms + (self.to_ms - self.from_ms) // 2


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every day, or every week on `weekday`, at `hour`: of the days that are over."""

    period: Period
    zone: ZoneInfo
    hour: int
    weekday: Day = "mon"

    def last(self, now_ms: int) -> Due:
        """The newest that is due by now."""
        return next(due for due in self._around(now_ms, back=True) if due.due_ms <= now_ms)

    def next(self, now_ms: int) -> Due:
        """The first that is due later than now."""
        return next(due for due in self._around(now_ms, back=False) if due.due_ms > now_ms)

    def _around(self, now_ms: int, *, back: bool) -> Iterator[Due]:
        """All of them from a day or two beyond now, going back or on."""
        step = timedelta(days=-1 if back else 1)
        day = datetime.fromtimestamp(now_ms / 1000, self.zone).date() - 2 * step
        while True:
            if self.period == "daily" or DAYS[day.weekday()] == self.weekday:
                due = self._on(day)
                if due.from_ms < due.to_ms:  # a zone that moves across the date line has no such day
                    yield due
            day += step

    def _on(self, day: date) -> Due:
        first = day - timedelta(days=LENGTHS[self.period])
        return Due(self.period, self.zone.key, self._ms(first, 0), self._ms(day, 0), self._ms(day, self.hour))

    def _ms(self, day: date, hour: int) -> int:
        return int(datetime.combine(day, time(hour), self.zone).timestamp()) * 1000
