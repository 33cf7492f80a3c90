"""What the feeds have for the next chunk: steps in order, changes of feeds, counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from market_ingest.columns import Instrument
from market_ingest.sources.chunk import Chunk, Dropped, Interrupted, Resumed, Step
from market_ingest.sources.live.rows import Row, together
from tocsin_common.events import FeedChanged

_Silence = Interrupted | Resumed | Dropped


class Inbox:
    """Filled by the feeds, emptied into chunks. `arrived` is set while there may be something for one."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._steps: list[_Silence | tuple[Instrument, bool, list[Row]]] = []
        self._open: dict[Instrument, tuple[Instrument, bool, list[Row]]] = {}
        self._rejected: Counter[str] = Counter()
        self._duplicates = 0
        self._feeds: list[FeedChanged] = []
        self._added: list[Instrument] = []

    def trades(self, instrument: Instrument, rows: Sequence[Row]) -> None:
        """Rows of an instrument, after all before: those that came live and those that were fetched apart."""
        for row in rows:
            repaired = row.received_ms is None
            stretch = self._open.get(instrument)
            if stretch is None or stretch[1] is not repaired:
                stretch = self._open[instrument] = (instrument, repaired, [])
                self._steps.append(stretch)
            stretch[2].append(row)
        self.arrived.set()

    def step(self, step: _Silence) -> None:
        """What silence means from here on."""
        self._open.pop(step.instrument, None)
        self._steps.append(step)
        self.arrived.set()

    def announce(self, change: FeedChanged) -> None:
        self._feeds.append(change)
        self.arrived.set()

    def add(self, instruments: Iterable[Instrument]) -> None:
        """These want to begin."""
        self._added += instruments
        self.arrived.set()

    def count(self, *, rejected: Iterable[str] = (), duplicates: int = 0) -> None:
        """Trades that go no further."""
        self._rejected.update(rejected)
        self._duplicates += duplicates

    def empty(self, now_ms: int) -> Chunk:
        """Everything that has come, as a chunk at wall clock `now_ms`."""
        steps = [step if isinstance(step, _Silence) else _live(step, now_ms) for step in self._steps]
        chunk = Chunk(
            clock_ms=now_ms,
            steps=steps,
            trades_rejected=self._rejected,
            duplicates=self._duplicates,
            feeds=self._feeds,
            added=self._added,
        )
        self._steps, self._open, self._feeds, self._added = [], {}, [], []
        self._rejected, self._duplicates = Counter(), 0
        self.arrived.clear()
        return chunk


def _live(stretch: tuple[Instrument, bool, list[Row]], now_ms: int) -> Step:
    instrument, repaired, rows = stretch
    return together(instrument, rows, rows[0].received_ms or now_ms, repaired=repaired)
