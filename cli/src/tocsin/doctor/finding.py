"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report. `problem` "" means all is well and `detail` says what was seen; else `remedy` helps."""

    subject: str
    detail: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem
