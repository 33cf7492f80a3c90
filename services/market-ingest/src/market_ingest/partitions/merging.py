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
from dataclasses import dataclass

import msgspec

from market_ingest.partitions.sharing import ALL
from tocsin_common.events import ClockAdvanced

PATIENCE_S = 5.0
"""How long a partition may stand still before the clock goes on without it: above the seconds an orderly hand-over
takes, below a dead replica's takeover, which nobody should have to wait for."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far one replica has come. `tokens`: the partitions it speaks for, with the tokens of their leases.

    The sequences are as in `ClockAdvanced`; `totals` are counts since the replica began.
    """

    replica: str
    tokens: dict[int, int]
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
    """Goes on from the last mark there is; `everything` is what somebody may hold, and so will report."""

    def __init__(self, last: ClockAdvanced | None, source: str, *, patience_s: float = PATIENCE_S) -> None:
        self.everything = ALL
        self._last = last or ClockAdvanced(stage="market", source=source, time_ms=0, trades_seq=0, candles_seq=0)
        self._source = source
        self._patience_s = patience_s
        self._partitions: dict[int, _Partition] = {}
        self._trades_seq, self._candles_seq = self._last.trades_seq, self._last.candles_seq
        self._totals = Counter(self._last.totals)
        self._counted = {name: Counter(counts) for name, counts in self._last.counted.items()}

    def take(self, report: Report, now_s: float) -> None:
        """Take a replica's report; reports of one replica in their order, repetitions do no harm."""
        for partition, token in report.tokens.items():
            known = self._partitions.get(partition)
            if known is None or token > known.token or (token == known.token and report.time_ms > known.report.time_ms):
                self._partitions[partition] = _Partition(report, token, now_s)
            elif token == known.token and report.time_ms == known.report.time_ms:
                known.report = report
        self._trades_seq = max(self._trades_seq, report.trades_seq)
        self._candles_seq = max(self._candles_seq, report.candles_seq)
        self._count(report)

    def keep_counts_of(self, replicas: set[str]) -> None:
        """Everybody else is gone and will report no more; what they counted stays in the totals."""
        self._counted = {name: counts for name, counts in self._counted.items() if name in replicas}

    def is_replaced(self, report: Report) -> bool:
        """Whether later owners have reported all of its partitions."""
        return all(
            partition in self._partitions and self._partitions[partition].token > token
            for partition, token in report.tokens.items()
        )

    @property
    def reported(self) -> frozenset[int]:
        """The partitions that are known."""
        return frozenset(self._partitions)

    def left_behind(self, now_s: float) -> frozenset[int]:
        """The partitions the clock does not wait for."""
        return frozenset(number for number, one in self._partitions.items() if not self._waits_for(one, now_s))

    def mark(self, now_s: float) -> ClockAdvanced | None:
        """The mark that can be made now, or None when it would say nothing new."""
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
        """The mark is on the stream."""
        self._last = mark

    def _waits_for(self, one: _Partition, now_s: float) -> bool:
        near_ms = one.report.time_ms + self._patience_s * 1000
        return now_s - one.moved_s <= self._patience_s and near_ms >= self._last.time_ms

    def _needed(self, reported: list[int], stream: str) -> int:
        """From where open candles can be made again; of partitions nobody has reported yet the last mark knew it."""
        if self._partitions.keys() >= self.everything:
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
