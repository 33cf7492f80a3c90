"""One mark of stage `signals` from the reports of several replicas. Pure.

A report says of its replica's partitions: the candles up to this market mark are evaluated, and their signals are on
SIGNALS, up to this sequence. A mark says it of all partitions. So it is the oldest of the marks reported, with the
greatest of the sequences: the signals of the oldest are at or below each one's own sequence, thus at or below the
greatest. That this also covers signals of later candles does no harm: who follows marks waits with a signal until the
clock has passed its confirmation.

Nobody is left behind. A partition whose owner died holds the mark back until the next owner has taken over, because
what follows the marks (paper portfolios) must not pass a signal that is still to come. Nobody else waits: alerts are
made of signals as they are stored.

Of two replicas that report one partition, the one with the greater lease token speaks for it. Marks never go back.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import reduce

import msgspec
import structlog

from tocsin_common.events import ClockAdvanced
from tocsin_common.partitions import conductor
from tocsin_common.partitions.sharing import ALL, format_ranges

log = structlog.get_logger()


class Report(conductor.Report, frozen=True, kw_only=True):
    """How far one replica has come: the newest mark it has answered, with `signals_seq` as far as its signals reach."""

    covered: ClockAdvanced


class SignalsClock:
    """Implements `Merging`. Goes on from the last mark there is."""

    def __init__(self, last: ClockAdvanced | None) -> None:
        self._last = last
        self._signals_seq = last.signals_seq if last else 0
        self._partitions: dict[int, tuple[int, ClockAdvanced]] = {}
        self._nobodys: frozenset[int] = frozenset()

    def take(self, report: Report, now_s: float) -> None:
        newer: dict[int, bool] = {}
        for partition, token in report.tokens.items():
            known, covered = self._partitions.get(partition, (0, report.covered))
            if token == known and id(covered) not in newer:  # mostly the same for all of them
                newer[id(covered)] = report.covered.covers(covered)
            if token > known or (token == known and newer[id(covered)]):
                self._partitions[partition] = (token, report.covered)
        self._signals_seq = max(self._signals_seq, report.covered.signals_seq)

    def pressing(self, report: Report) -> bool:
        """Paper portfolios wait for every mark."""
        return True

    def look_around(self, members: Mapping[str, frozenset[int]], reporting: Set[str]) -> None:
        nobodys = ALL.difference(*members.values()) if members else frozenset()
        if nobodys - self._nobodys:
            log.error("nobody may evaluate some partitions, marks wait for them", partitions=format_ranges(nobodys))
        self._nobodys = nobodys

    def is_replaced(self, report: Report) -> bool:
        return all(self._partitions.get(partition, (0,))[0] > token for partition, token in report.tokens.items())

    def left_behind(self, now_s: float) -> frozenset[int]:
        return frozenset()

    def mark(self, now_s: float) -> ClockAdvanced | None:
        if self._partitions.keys() < ALL:
            return None
        reported = {id(mark): mark for _, mark in self._partitions.values()}
        oldest = reduce(lambda one, other: other if one.covers(other) else one, reported.values())
        if self._last is not None and self._last.covers(oldest):
            return None
        return msgspec.structs.replace(oldest, stage="signals", signals_seq=self._signals_seq)

    def marked(self, mark: ClockAdvanced) -> None:
        self._last = mark
