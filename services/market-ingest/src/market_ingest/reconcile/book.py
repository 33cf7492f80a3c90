"""What of the stream CANDLES is still to be compared. Pure.

Every candle built here waits until it is settled. Between two of them there may be open times without any: a gap, and
these wait too. `bookmark` says from where the stream must be read again to know all this after a restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from market_ingest.columns import Instrument
from market_ingest.history.paging import Key
from market_ingest.reconcile.compare import Ours, comparable
from tocsin_common.events import CandlesClosed
from tocsin_trading.timeframes import TIMEFRAMES

MISSING_MAX = 1_500
"""Candles of one gap and timeframe that are asked for, the newest: more than a day of minutes."""

LOOKS_MAX = 20
"""How often a candle that the exchange does not give is asked for."""


@dataclass(slots=True)
class _Waiting:
    """A candle to be compared (None: a gap left none), and the sequence of the message that told of it."""

    seq: int
    ours: Ours | None
    looks: int = 0


@dataclass(slots=True)
class _Page:
    """Candles of one key. `newest_ms` is the newest open time; `read` are the messages since the bookmark, each with
    the newest open time after it."""

    newest_ms: int | None = None
    marked_ms: int | None = None
    read: deque[tuple[int, int]] = field(default_factory=deque)
    waiting: dict[int, _Waiting] = field(default_factory=dict)


class Book:
    """`newest` are the newest open times at the bookmark the stream is read from."""

    def __init__(self, newest: Mapping[Key, int] | None = None) -> None:
        self._pages = {key: _Page(newest_ms=ms, marked_ms=ms) for key, ms in (newest or {}).items()}

    def take(self, event: CandlesClosed, seq: int) -> None:
        """The next message of the stream."""
        key = Key(Instrument(event.exchange, event.symbol), event.timeframe)
        if event.timeframe not in TIMEFRAMES or not comparable(key.instrument):
            return
        page = self._pages.setdefault(key, _Page())
        columns = (event.open, event.high, event.low, event.close, event.volume)
        for open_ms, *values in zip(event.open_ms, *columns, strict=True):
            ours = Ours(event.revision, *values)
            if event.revision:
                _revise(page, open_ms, ours)
            else:
                _close(page, key, open_ms, _Waiting(seq, ours) if event.origin == "trades" else None, seq)
        if page.newest_ms is not None:
            page.read.append((seq, page.newest_ms))

    def ripe(self, closed_by_ms: int) -> dict[Key, dict[int, Ours | None]]:
        """By key and open time: what waits and had closed by then."""
        found = {}
        for key, page in self._pages.items():
            ripe = {at: one.ours for at, one in page.waiting.items() if at + key.length_ms <= closed_by_ms}
            if ripe:
                found[key] = ripe
        return found

    def settle(self, key: Key, open_ms: Iterable[int]) -> None:
        """These are done with."""
        page = self._pages.get(key, _Page())
        for at in open_ms:
            page.waiting.pop(at, None)

    def postpone(self, key: Key, open_ms: Collection[int]) -> int:
        """These could not be compared this time. Returns how many are given up by that."""
        waiting = self._pages.get(key, _Page()).waiting
        for at in waiting.keys() & set(open_ms):
            waiting[at].looks += 1
        given_up = [at for at in open_ms if at in waiting and waiting[at].looks >= LOOKS_MAX]
        self.settle(key, given_up)
        return len(given_up)

    def waiting(self, exchange: str) -> int:
        """How many candles of an exchange wait."""
        return sum(len(page.waiting) for key, page in self._pages.items() if key.instrument.exchange == exchange)

    def bookmark(self, read_seq: int) -> tuple[int, dict[Key, int]]:
        """The sequence after which to read again, and the newest open times at it; `read_seq` is the last one taken."""
        seqs = [one.seq for page in self._pages.values() for one in page.waiting.values()]
        seq = min([read_seq, *(first - 1 for first in seqs)])
        newest = {}
        for key, page in self._pages.items():
            while page.read and page.read[0][0] <= seq:
                page.marked_ms = page.read.popleft()[1]
            if page.marked_ms is not None:
                newest[key] = page.marked_ms
        return seq, newest


def _close(page: _Page, key: Key, open_ms: int, waiting: _Waiting | None, seq: int) -> None:
    if waiting is not None:
        if page.newest_ms is not None:
            first_ms = max(page.newest_ms + key.length_ms, open_ms - MISSING_MAX * key.length_ms)
            for missing_ms in range(first_ms, open_ms, key.length_ms):
                page.waiting.setdefault(missing_ms, _Waiting(seq, None))
        page.waiting[open_ms] = waiting
    page.newest_ms = open_ms if page.newest_ms is None else max(page.newest_ms, open_ms)


def _revise(page: _Page, open_ms: int, corrected: Ours) -> None:
    waiting = page.waiting.get(open_ms)
    if waiting is not None and (waiting.ours is None or waiting.ours.revision < corrected.revision):
        waiting.ours = corrected
