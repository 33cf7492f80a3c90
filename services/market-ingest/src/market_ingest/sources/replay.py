"""Recorded markets: files played back in the order in which things happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from market_ingest.columns import Instrument
from market_ingest.config import ReplaySettings
from market_ingest.sources.chunk import Chunk
from market_ingest.sources.files import UnreadableFile
from market_ingest.sources.timeline import Timeline, load
from tocsin_common.events import TradesReceived

__all__ = ["FilesSummary", "ReplaySource", "UnreadableFile", "check_files"]

CHUNK_ROWS = 40_000
"""Most rows between two marks of the clock."""

SKIP_SILENCE_MS = 15 * 60_000
"""A paced replay does not sit through longer silences of all instruments."""

TICK_S = 0.05
"""How often a paced replay looks at the clock."""


@dataclass(frozen=True, slots=True)
class FilesSummary:
    """What some files hold. `source_id` is what their replay is called on the streams."""

    trades: int
    candles: int
    instruments: list[Instrument]
    from_ms: int
    to_ms: int
    fingerprint: str

    @property
    def rows(self) -> int:
        return self.trades + self.candles

    @property
    def source_id(self) -> str:
        return f"replay:{self.fingerprint}"


def check_files(paths: Sequence[Path]) -> FilesSummary:
    """Read files completely and say what is in them. Raises UnreadableFile, naming file, row and column."""
    timeline = load(paths, _now_ms())
    trades, candles = timeline.rows
    span = (int(timeline.at_ms[0]), int(timeline.at_ms[-1]))
    return FilesSummary(trades, candles, timeline.instruments, *span, timeline.fingerprint)


class ReplaySource:
    """Implements `Source`. `speed` 0: as fast as possible; 60: a market minute a second."""

    live = False

    def __init__(
        self, settings: ReplaySettings, *, skip_silence_ms: int = SKIP_SILENCE_MS, timeline: Timeline | None = None
    ) -> None:
        """Read the files, unless their `timeline` is given. Raises UnreadableFile."""
        timeline = timeline or load(settings.files, _now_ms())
        self.source_id = f"replay:{timeline.fingerprint}"
        self.instruments: Sequence[Instrument] = timeline.instruments
        self._timeline = timeline
        self._speed = settings.speed
        self._skip_silence_ms = skip_silence_ms

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """Nothing: repetitions in files are found when they are read."""

    async def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        paced = self._paced(cursor) if self._speed else self._unpaced(cursor)
        async for chunk in paced:
            yield chunk

    async def _unpaced(self, cursor: int) -> AsyncIterator[Chunk]:
        total = len(self._timeline)
        for first in range(cursor, total, CHUNK_ROWS):
            end = min(first + CHUNK_ROWS, total)
            yield self._chunk(first, end, int(self._timeline.at_ms[end - 1]))
        if cursor >= total:
            yield self._chunk(total, total, int(self._timeline.at_ms[-1]))

    async def _paced(self, cursor: int) -> AsyncIterator[Chunk]:
        at_ms, total = self._timeline.at_ms, len(self._timeline)
        started_s, market_ms = time.monotonic(), int(at_ms[min(cursor, total - 1)])
        while True:
            clock_ms = market_ms + int((time.monotonic() - started_s) * 1000 * self._speed)
            if cursor < total and at_ms[cursor] - clock_ms > self._skip_silence_ms:
                started_s, market_ms = time.monotonic(), int(at_ms[cursor])
                clock_ms = market_ms
            due = int(np.searchsorted(at_ms, clock_ms, side="right"))
            end = max(cursor, min(due, cursor + CHUNK_ROWS))
            yield self._chunk(cursor, end, clock_ms if end == due else int(at_ms[end - 1]))
            cursor = end
            if cursor == total:
                return
            if end == due:
                await asyncio.sleep(TICK_S)

    def _chunk(self, first: int, end: int, clock_ms: int) -> Chunk:
        stretch = self._timeline.between(first, end)
        return Chunk(
            clock_ms=clock_ms,
            cursor=end,
            trades=stretch.trades,
            candles=stretch.candles,
            trades_rejected=stretch.trades_rejected,
            candles_rejected=stretch.candles_rejected,
            duplicates=stretch.duplicates,
            ended=end == len(self._timeline),
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
