"""One market clock from the reports of several replicas. Pure: no I/O, and no clock but the caller's.

A report says of its replica's partitions: everything before `time_ms` is on the streams up to these sequences. A mark
says it of the whole market. So its time is the earliest of the times reported, and its sequences are the greatest: what
lies before the earliest time lies before each one's own, thus at or below each one's sequence, thus at or below the
greatest. That these also cover later things does no harm; a mark never claimed that nothing later is there.

A partition whose time stands still (its replica died, or stands still) would stop the clock for all. It is waited for
as long as `patience_s`, and then left behind: the clock goes on, and what comes of it is late. It is waited for again
when it has come near the clock. Marks that only have greater sequences go on meanwhile, so candles of healthy
partitions reach their strategies without delay.

Of two replicas that report one partition, the one with the greater lease token speaks for it. Neither the time nor a
sequence of a mark ever goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from tocsin_common.events import ClockAdvanced
from tocsin_common.partitions import conductor
from tocsin_common.partitions.sharing import ALL

PATIENCE_S = 5.0
"""How long a partition may stand still before the clock goes on without it: above the seconds an orderly hand-over
takes, below a dead replica's takeover, which nobody should have to wait for."""


class Report(conductor.Report, frozen=True, kw_only=True):
    """How far one replica has come.

    The sequences are as in `ClockAdvanced`; `totals` are counts since the replica began.
    """

    time_ms: int
    trades_seq: int
    candles_seq: int
    trades_from_seq: int
    candles_from_seq: int
    totals: dict[str, int] = {}


@dataclass(slots=True)
class _Partition:
    """The newest word about a partition; `moved_s` is when its time moved last."""

    report: Report
    token: int
    moved_s: float


class MarketClock:
    """Implements `Merging`. Goes on from the last mark there is."""

    def __init__(self, last: ClockAdvanced | None, source: str, *, patience_s: float = PATIENCE_S) -> None:
        self._everything = ALL
        self._last = last or ClockAdvanced(stage="market", source=source, time_ms=0, trades_seq=0, candles_seq=0)
        self._source = source
        self._patience_s = patience_s
        self._partitions: dict[int, _Partition] = {}
        self._trades_seq, self._candles_seq = self._last.trades_seq, self._last.candles_seq
        self._totals = Counter(self._last.totals)
        self._counted = {name: Counter(counts) for name, counts in self._last.counted.items()}

    def take(self, report: Report, now_s: float) -> None:
        for partition, token in report.tokens.items():
            known = self._partitions.get(partition)
            if known is None or token > known.token or (token == known.token and report.time_ms > known.report.time_ms):
                self._partitions[partition] = _Partition(report, token, now_s)
            elif token == known.token and report.time_ms == known.report.time_ms:
                known.report = report
        self._trades_seq = max(self._trades_seq, report.trades_seq)
        self._candles_seq = max(self._candles_seq, report.candles_seq)
        self._count(report)

    def pressing(self, report: Report) -> bool:
        """Candles that closed wait for nobody else."""
        return report.candles_seq > self._last.candles_seq

    def look_around(self, members: Mapping[str, frozenset[int]], reporting: Set[str]) -> None:
        """What somebody may hold will be reported. What those counted who are gone stays in the totals."""
        self._everything = frozenset().union(*members.values()) if members else self._everything
        self._counted = {name: counts for name, counts in self._counted.items() if name in reporting}

    def is_replaced(self, report: Report) -> bool:
        return all(
            partition in self._partitions and self._partitions[partition].token > token
            for partition, token in report.tokens.items()
        )

    @property
    def reported(self) -> frozenset[int]:
        """The partitions that are known."""
        return frozenset(self._partitions)

    def left_behind(self, now_s: float) -> frozenset[int]:
        return frozenset(number for number, one in self._partitions.items() if not self._waits_for(one, now_s))

    def mark(self, now_s: float) -> ClockAdvanced | None:
        times = [one.report.time_ms for one in self._partitions.values() if self._waits_for(one, now_s)]
        last = self._last
        mark = ClockAdvanced(
            stage="market",
            source=self._source,
            time_ms=max(last.time_ms, min(times, default=0)),
            trades_seq=self._trades_seq,
            candles_seq=self._candles_seq,
            trades_from_seq=self._needed([one.report.trades_from_seq for one in self._partitions.values()], "trades"),
            candles_from_seq=self._needed(
                [one.report.candles_from_seq for one in self._partitions.values()], "candles"
            ),
            totals=dict(self._totals),
            counted={name: dict(counts) for name, counts in self._counted.items()},
        )
        if (mark.time_ms, mark.trades_seq, mark.candles_seq) == (last.time_ms, last.trades_seq, last.candles_seq):
            return None
        return mark

    def marked(self, mark: ClockAdvanced) -> None:
        self._last = mark

    def _waits_for(self, one: _Partition, now_s: float) -> bool:
        near_ms = one.report.time_ms + self._patience_s * 1000
        return now_s - one.moved_s <= self._patience_s and near_ms >= self._last.time_ms

    def _needed(self, reported: list[int], stream: str) -> int:
        """From where open candles can be made again; of partitions nobody has reported yet the last mark knew it."""
        if self._partitions.keys() >= self._everything:
            return min(reported)
        last = self._last
        known = last.trades_from_seq if stream == "trades" else last.candles_from_seq
        return min([known, *reported])

    def _count(self, report: Report) -> None:
        counted, totals = self._counted.setdefault(report.replica, Counter()), Counter(report.totals)
        new = Counter({name: count - counted[name] for name, count in totals.items()})
        if all(count >= 0 for count in new.values()):
            self._totals.update(new)
            self._counted[report.replica] = totals
