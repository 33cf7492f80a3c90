"""What rounds took: in metrics, and said where they make a live market wait for too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from signal_engine.marks import mark_of
from signal_engine.metrics import Metrics
from signal_engine.pace import Pace
from tocsin_common.bus.consume import Incoming
from tocsin_common.events import RoundsChanged

LIVE_WITHIN_MS = 60_000
"""A mark this close to a clock is live: to ours now, for latencies; to the server's when it was stored, for waits."""


class Measuring:
    """Measures the rounds of one life; `slow_round_s` as in `Pace`."""

    def __init__(self, metrics: Metrics, slow_round_s: float) -> None:
        self._metrics = metrics
        self._pace = Pace(slow_round_s)

    def after(
        self,
        batch: Sequence[Incoming],
        spent: Mapping[str, float],
        *,
        began_ms: int,
        took_s: float,
        symbols: int,
        candles: int,
    ) -> list[RoundsChanged]:
        """What there is to say about a round over a batch of marks, whose parts took `spent` seconds; only a live
        market waits for one."""
        self._metrics.spent(spent)
        stored_ms = [item.message.stored_ms for item in batch if _live(item)]
        if not stored_ms:
            return []
        waited_ms = [max(0, began_ms - at_ms) for at_ms in stored_ms]
        self._metrics.waited(waited_ms)
        newest = mark_of(batch[-1])
        longest, longest_s = max(spent.items(), key=lambda part: part[1])
        return self._pace.after(
            RoundsChanged(
                pace="slow",
                at_ms=newest.time_ms,
                candles_seq=newest.candles_seq,
                waited_ms=max(waited_ms),
                took_ms=round(took_s * 1000),
                symbols=symbols,
                candles=candles,
                longest=longest,
                longest_ms=round(longest_s * 1000),
            )
        )


def _live(item: Incoming) -> bool:
    return abs(item.message.stored_ms - mark_of(item).time_ms) < LIVE_WITHIN_MS
