"""The windows of all series, and what is pending in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy

import numpy as np
import polars as pl

from signal_engine.carrying import open_next
from signal_engine.columns import Asked
from signal_engine.frames import ready_parts
from signal_engine.live import Live, live
from signal_engine.window import Added, Candles, Ints, Series, Window
from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAME_MS

AskedIn = Callable[[str], Iterable[Asked]]
"""Of a timeframe the columns that are asked for together."""


class Windows:
    """All windows, and frames of what is pending in them.

    `judged` are the timeframes whose candles are evaluated; those of others are only looked at by them. Windows hold
    `warm_up_candles` before their block, or `kept_candles` where somebody asks for frames that reach farther back.
    """

    def __init__(self, warm_up_candles: int, judged: Collection[str], *, kept_candles: int = 0) -> None:
        self.series: list[Series] = []
        self.pending = 0
        self.kept_candles = max(warm_up_candles, kept_candles)
        self._warm_up_candles = warm_up_candles
        self._judged = judged
        self._windows: dict[Series, tuple[int, Window]] = {}
        self._dirty: dict[int, Window] = {}
        self._changed: dict[int, Window] = {}

    def newest_ms(self, series: Series) -> int:
        """Open time of the newest candle of a series; -1 when there is none."""
        found = self._windows.get(series)
        return found[1].newest_ms if found else -1

    def add(self, event: CandlesClosed, *, pending: bool) -> Added:
        """Take in one message of candles in ascending order; `pending` ones will be in the next frames."""
        series = Series(event.exchange, event.symbol, event.timeframe)
        number, window = self._windows.get(series) or self._open(series)
        values = np.array((event.open, event.high, event.low, event.close, event.volume))
        added = window.add(np.array(event.open_ms, np.int64), values, pending=pending)
        self._changed[number] = window
        if pending and added.fresh:
            self._dirty[number] = window
            self.pending += added.fresh
        return added

    def all_end_after(self, time_ms: int) -> bool:
        """Whether every pending candle ends after a time, and no window has more than one."""
        return all(
            window.only_newest_pending and window.newest_ms + window.series.length_ms > time_ms
            for window in self._dirty.values()
        )

    def hold(self, time_ms: int, higher: Mapping[str, Collection[str]]) -> None:
        """Let pending candles wait that end after `time_ms` and whose higher candle, of any timeframe that `higher`
        names for theirs, is not there yet. What ends by then has been waited for long enough: it is missing."""
        last_first = {here: sorted(above, key=TIMEFRAME_MS.__getitem__, reverse=True) for here, above in higher.items()}
        for window in self._dirty.values():
            window.waits, window.held = False, None
            if window.newest_ms + window.series.length_ms <= time_ms or window.series.timeframe not in higher:
                continue
            if window.only_newest_pending:
                window.waits = not self._sees(window, last_first[window.series.timeframe])
            else:
                held = window.unseen(time_ms, self._above(window.series, higher)) & window.pending
                window.held = held if held.any() else None

    def _sees(self, window: Window, higher: Iterable[str]) -> bool:
        """Whether of each of these timeframes the candle is there that a window's newest one looks at."""
        (exchange, symbol, _), ends_ms = window.series, window.newest_ms + window.series.length_ms
        for timeframe in higher:
            _, above = self._windows.get(Series(exchange, symbol, timeframe)) or (0, None)
            length_ms = TIMEFRAME_MS[timeframe]
            if above is None or not above.has(ends_ms // length_ms * length_ms - length_ms):
                return False
        return True

    def resume(self, time_ms: int, higher: Mapping[str, Collection[str]]) -> None:
        """After a restart: what waited at a mark of `time_ms` is pending again."""
        for number, window in self._windows.values():
            if window.series.timeframe in self._judged:
                window.pending = window.unseen(time_ms, self._above(window.series, higher))
                if waiting := window.pending_count:
                    self._dirty[number] = window
                    self.pending += waiting

    def frames(self) -> Iterator[Live]:
        """Frames to evaluate what is pending and does not wait, until `settle`, each of one timeframe; `series` there
        is an index into ours."""
        evaluated = self._evaluated()
        for timeframe in sorted({window.series.timeframe for _, window in evaluated}):
            here = [one for one in evaluated if one[1].series.timeframe == timeframe]
            yield from live(ready_parts(here, self._warm_up_candles))

    def copies(self) -> list[tuple[int, Window]]:
        """The windows of these frames as they are now, for others that are made later (`framed`)."""
        return [(number, copy(window)) for number, window in self._evaluated()]

    def ending_after(self, time_ms: int) -> list[tuple[int, Window]]:
        """Copies of the windows judged, with what ends after a time as pending, unless it is pending anyway."""
        found = []
        for number, window in self._windows.values():
            if window.newest_ms + window.series.length_ms > time_ms and window.series.timeframe in self._judged:
                found.append((number, one := copy(window)))
                one.pending = window.ending_after(time_ms) & ~window.pending
        return found

    def _evaluated(self) -> list[tuple[int, Window]]:
        dirty = sorted(self._dirty.items())
        return [one for one in dirty if not one[1].waits and one[1].series.timeframe in self._judged]

    def candles_of(self, timeframe: str, wanted: pl.DataFrame) -> tuple[Iterable[Live], Sequence[Series]]:
        """See `higher.CandlesOf`."""
        opens: dict[Series, list[int]] = defaultdict(list)
        for exchange, symbol, open_ms in wanted.iter_rows():
            opens[Series(exchange, symbol, timeframe)].append(open_ms)
        parts = []
        for series, times in opens.items():
            number, window = self._windows.get(series) or (0, None)
            if window is not None:
                found = window.parts_opened(times, self._warm_up_candles)
                parts += [(number, window, part) for part in found]
        return live(parts), self.series

    def carry(self, asked_in: AskedIn, most: int) -> bool:
        """Have columns carried to the newest candle of windows that have changed, of so many at most, for the candle
        that comes next; says whether there are others."""
        changed = defaultdict[str, list[Window]](list)
        for _ in range(min(most, len(self._changed))):
            _, window = self._changed.popitem()
            changed[window.series.timeframe].append(window)
        for timeframe, windows in changed.items():
            for asked in asked_in(timeframe):
                open_next(windows, asked, self._warm_up_candles)
        return bool(self._changed)

    def settle(self) -> None:
        """What the last frames held has been evaluated."""
        self._dirty = {number: window for number, window in self._dirty.items() if not window.settle()}
        self.pending = sum(window.pending_count for window in self._dirty.values())

    def clear(self) -> None:
        """Forget every candle."""
        self.pending = 0
        for known in (self.series, self._windows, self._dirty, self._changed):
            known.clear()

    def export(self) -> list[tuple[Series, Candles]]:
        """Every window as it is now; cheap, because nothing is copied."""
        return [(series, Candles(window.opens, window.values)) for series, (_, window) in self._windows.items()]

    def restore(self, series: Series, candles: Candles) -> None:
        """Begin a window with candles that an earlier run had in it."""
        number, window = self._open(series)
        window.add(candles.opens, candles.values, pending=False)
        self._changed[number] = window

    def _open(self, series: Series) -> tuple[int, Window]:
        self._windows[series] = (len(self.series), Window(series, self.kept_candles))
        self.series.append(series)
        return self._windows[series]

    def _above(self, series: Series, higher: Mapping[str, Collection[str]]) -> list[tuple[int, Ints]]:
        """Length and open times of the candles of the higher timeframes of a series."""
        found = []
        for timeframe in higher.get(series.timeframe, ()):
            _, window = self._windows.get(series._replace(timeframe=timeframe)) or (0, None)
            found.append((TIMEFRAME_MS[timeframe], window.opens if window else np.empty(0, np.int64)))
        return found
