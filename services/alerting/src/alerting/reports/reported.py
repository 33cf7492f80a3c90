"""A report as a cause of an alert: it is due once, and is about no market."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin_common.events import Period, Summary
from tocsin_common.ids import derive

PLACE = "report"
"""Where reports stand among the alerts, instead of an exchange."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A report that was due at `ts_ms`."""

    summary: Summary
    ts_ms: int

    @property
    def cause_id(self) -> str:
        return report_id(self.summary.period, self.summary.from_ms, self.summary.to_ms)

    @property
    def exchange(self) -> str:
        """A report is of no exchange and has a place of its own."""
        return PLACE

    @property
    def symbol(self) -> str:
        return self.summary.period


def report_id(period: Period, from_ms: int, to_ms: int) -> str:
    """The id of the report on a day or week, whoever makes it."""
    return derive("report", period, from_ms, to_ms)
