"""Are the live signals those that all of history gives?

The candles of the stream are judged again in one whole-history query by the same strategies, and every signal is set
against the live one of its id, field by field. What may honestly differ (`excuses.py`) is counted by reason and not
compared.

An engine that was started later judges the whole stream all the same; only a strategy that was configured later did
not see what came before. That looks like lost signals, and counts as such: `Parity.begun_later` says when it began, to
compare from there on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from signal_engine.comparison import Mismatch, mismatches
from signal_engine.excuses import Excuses, Judges, Live, Reason
from signal_engine.history import signals_of
from signal_engine.quarantine import Quarantine
from tocsin_common.events import SignalRaised


@dataclass(frozen=True, slots=True)
class Parity:
    """`same` signals, and those that are not (live on the left, history on the right, oldest first); `excused` ones by
    reason count as neither. `begun_later`: strategies all of whose mismatches are older than their first live signal,
    with the moment of that, ms. `broke`: strategies whose query over all of history raised, with what came of it."""

    same: int
    differing: Sequence[Mismatch]
    excused: Mapping[Reason, int]
    begun_later: Mapping[str, int]
    broke: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return not self.differing and not self.broke

    @property
    def compared(self) -> int:
        return self.same + len(self.differing)

    @property
    def percent(self) -> str:
        """Of the compared signals, those that are the same: rounded down, so that 100.00 is all of them."""
        hundredths = 10_000 * self.same // self.compared if self.compared else 10_000
        return f"{hundredths // 100}.{hundredths % 100:02d}"


def parity_of(judges: Judges, live: Live, *, since_ms: int, until_ms: int) -> Parity:
    """Compare the signals confirmed from `since_ms` on and before `until_ms`."""
    candles = live.recording.frame()
    broke: list[Quarantine] = []
    whole = signals_of(
        judges.strategies, candles, timeframes=judges.timeframes, sizing=judges.sizing, broke=broke.append
    )
    ours, history = (
        [signal for signal in signals if since_ms <= signal.confirmed_ms < until_ms]
        for signals in (live.signals, whole)
    )
    known = [signal for signal in ours if judges.know(signal)]
    found, excuses = mismatches(known, history), Excuses(judges, live, candles)
    reasons = [excuses.reason(mismatch) for mismatch in found]
    differing = [mismatch for mismatch, reason in zip(found, reasons, strict=True) if reason is None]
    excused = Counter(reason for reason in reasons if reason is not None)
    excused["unknown"] += len(ours) - len(known)
    ids = {signal.signal_id for signals in (known, history) for signal in signals}
    errors = {one.strategy.instance: one.error for one in broke}
    return Parity(len(ids) - len(found), differing, +excused, dict(_begun_later(known, differing)), errors)


def _begun_later(live: Iterable[SignalRaised], differing: Iterable[Mismatch]) -> Iterator[tuple[str, int]]:
    began_ms: dict[str, int] = {}
    for signal in live:
        began_ms[signal.strategy] = min(signal.confirmed_ms, began_ms.get(signal.strategy, signal.confirmed_ms))
    missed_ms: dict[str, int] = {}
    for mismatch in differing:
        signal = mismatch.signal
        missed_ms[signal.strategy] = max(signal.confirmed_ms, missed_ms.get(signal.strategy, 0))
    for strategy, newest_ms in missed_ms.items():
        if newest_ms < began_ms.get(strategy, newest_ms):
            yield strategy, began_ms[strategy]
