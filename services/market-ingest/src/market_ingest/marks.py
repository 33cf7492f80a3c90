"""Positions on the streams: which sequences an open candle still needs."""

from __future__ import annotations

from collections import defaultdict, deque

from market_ingest.columns import Instrument


class Backlog:
    """For each instrument: the first sequence of a stream that reached each market time, in steps."""

    def __init__(self) -> None:
        self._steps: dict[Instrument, deque[tuple[int, int]]] = defaultdict(deque)

    def add(self, instrument: Instrument, through_ms: int, seq: int) -> None:
        """The message at `seq` reaches to market time `through_ms`."""
        steps = self._steps[instrument]
        if not steps or through_ms > steps[-1][0]:
            steps.append((through_ms, seq))

    def oldest(self, instrument: Instrument, since_ms: int) -> int | None:
        """The first sequence that may hold something of `since_ms` or later. Older steps are forgotten."""
        steps = self._steps[instrument]
        while steps and steps[0][0] < since_ms:
            steps.popleft()
        return steps[0][1] if steps else None
