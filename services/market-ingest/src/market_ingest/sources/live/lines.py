"""The lines of all instruments of one exchange: what goes to the inbox, what is announced, whose clock stands still.

An instrument's candles close by the clock only while silence means that nobody traded: its line is whole and its
connection was heard just now. Otherwise its clock stands still, and goes on once what happened is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from market_ingest.columns import Instrument
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.chunk import Dropped, Interrupted, Resumed
from market_ingest.sources.live.inbox import Inbox
from market_ingest.sources.live.repair import OUT_OF_ORDER, Continuity, Hole, Position, Released
from market_ingest.sources.live.rows import Row
from tocsin_common.events import FeedChanged, FeedState

log = structlog.get_logger()


@dataclass(slots=True)
class Trouble:
    """A broken line: since when, from where, and what the repair has come to."""

    since_s: float
    since: Position
    reason: str
    held_since_s: float | None = None
    announced: bool = False
    fetched: int = 0
    lost: int = 0
    attempts: int = 0
    not_before_s: float = 0.0
    running: bool = False


class Line:
    """One instrument: its continuity, the trouble it is in, and whether its clock stands still."""

    def __init__(self, instrument: Instrument, continuity: Continuity) -> None:
        self.instrument = instrument
        self.continuity = continuity
        self.trouble: Trouble | None = None
        self.stopped = True


class Lines:
    """All lines of an exchange. `heard(symbol)`: whether the symbol's connection was heard just now."""

    def __init__(self, exchange: str, inbox: Inbox, metrics: IngestMetrics, heard: Callable[[str], bool]) -> None:
        self.by_symbol: dict[str, Line] = {}
        self._exchange = exchange
        self._inbox = inbox
        self._metrics = metrics
        self._heard = heard
        self._count_open()

    def begin(self, symbol: str, continuity: Continuity) -> None:
        """Take an instrument up. What happened since its last trade is not known."""
        self.by_symbol[symbol] = Line(Instrument(self._exchange, symbol), continuity)
        self.interrupt([symbol], "begin")

    def end(self, symbol: str) -> None:
        """Let an instrument go: its open candles close, and no others follow."""
        line = self.by_symbol.pop(symbol)
        self._release(line, line.continuity.give_up())
        self._inbox.step(Resumed(line.instrument, whole=False))
        self._count_open()

    def drop(self, symbol: str) -> None:
        """Leave an instrument to somebody else: what is held or missing is theirs to fetch."""
        line = self.by_symbol.pop(symbol, None)
        if line is not None:
            self._inbox.step(Dropped(line.instrument))
            self._count_open()

    def interrupt(self, symbols: Iterable[str], reason: str) -> None:
        """Something of these may have been lost."""
        for symbol in symbols:
            if symbol in self.by_symbol:
                self.by_symbol[symbol].continuity.interrupt(reason)
                self._settle(self.by_symbol[symbol])

    def live(self, symbol: str, rows: list[Row]) -> None:
        """Take what arrived."""
        line = self.by_symbol[symbol]
        if line.continuity.goes_on(rows):
            self._inbox.trades(line.instrument, rows)
            self._set_clock(line)
        else:
            self._release(line, line.continuity.live(rows))
            self._settle(line)

    def fetched(self, symbol: str, rows: list[Row], *, reaches_back: bool, complete: bool) -> Released:
        """Take what REST gave."""
        line = self.by_symbol[symbol]
        self._announce_found(line)
        released = line.continuity.fetched(rows, reaches_back=reaches_back, complete=complete)
        self._release(line, released)
        self._settle(line)
        return released

    def give_up(self, symbol: str) -> None:
        """What is missing before the held trades will not come any more."""
        line = self.by_symbol[symbol]
        self._release(line, line.continuity.give_up())
        self._settle(line)

    def judge(self, symbols: Iterable[str]) -> None:
        """Look again whose clocks may go."""
        for symbol in symbols:
            if symbol in self.by_symbol:
                self._set_clock(self.by_symbol[symbol])

    def _release(self, line: Line, released: Released) -> None:
        refused = [row.refused or "" for row in (*released.refused, *released.late)]
        self._inbox.count(rejected=[reason or OUT_OF_ORDER for reason in refused], duplicates=released.duplicates)
        for row in released.late:
            self._announce_late(line, row)
        for piece in released.pieces:
            if isinstance(piece, Hole):
                self._announce_hole(line, piece)
                self._inbox.step(Resumed(line.instrument, whole=False))
                line.stopped = False
                self._set_clock(line, stop=True)
            else:
                self._inbox.trades(line.instrument, piece)
        if line.trouble is not None:
            line.trouble.fetched += released.fetched

    def _settle(self, line: Line) -> None:
        """Note that trouble began, or that it is over."""
        continuity, trouble, now_s = line.continuity, line.trouble, time.monotonic()
        if continuity.broken is not None and trouble is None and continuity.last is not None:
            line.trouble = Trouble(now_s, continuity.last, continuity.broken)
        elif continuity.broken is None and trouble is not None:
            self._announce_filled(line, trouble)
            line.trouble = None
        if line.trouble is not None and continuity.held and line.trouble.held_since_s is None:
            line.trouble.held_since_s = now_s
        self._set_clock(line)
        if line.trouble is not trouble:
            self._count_open()

    def _set_clock(self, line: Line, *, stop: bool = False) -> None:
        stop = stop or line.continuity.broken is not None or not self._heard(line.instrument.symbol)
        if stop is not line.stopped:
            line.stopped = stop
            self._inbox.step(Interrupted(line.instrument) if stop else Resumed(line.instrument, whole=True))

    def _count_open(self) -> None:
        broken = sum(line.trouble is not None for line in self.by_symbol.values())
        self._metrics.gaps_open.labels(self._exchange).set(broken)

    def _announce_found(self, line: Line, after: Position | None = None) -> None:
        """Once per trouble, when it is certain that trades are missing."""
        trouble, held = line.trouble, line.continuity.held
        if trouble is None or trouble.announced or not (after or (held and trouble.reason == "gap")):
            return
        trouble.announced = True
        to = after or Position(held[0].order, held[0].ts_ms, held[0].trade_id)
        self._announce(line, "gap_found", trouble.since, to, reason=trouble.reason)

    def _announce_hole(self, line: Line, hole: Hole) -> None:
        self._announce_found(line, hole.after)
        if line.trouble is not None:
            line.trouble.lost += 1
        self._announce(line, "gap_unfilled", hole.before, hole.after, reason="out of reach")

    def _announce_late(self, line: Line, row: Row) -> None:
        """One trade that may not be published any more: it alone is the gap."""
        before = Position(row.order - 1, row.ts_ms, str(row.order - 1))
        after = Position(row.order + 1, row.ts_ms, str(row.order + 1))
        self._announce(line, "gap_unfilled", before, after, reason=OUT_OF_ORDER)

    def _announce_filled(self, line: Line, trouble: Trouble) -> None:
        if trouble.fetched and line.continuity.last is not None:
            self._announce_found(line, line.continuity.last)
            self._announce(
                line, "gap_filled", trouble.since, line.continuity.last, reason=trouble.reason, trades=trouble.fetched
            )

    def _announce(
        self, line: Line, state: FeedState, before: Position, after: Position, *, reason: str, trades: int | None = None
    ) -> None:
        self._metrics.feed_changes.labels(self._exchange, state).inc()
        change = FeedChanged(
            exchange=self._exchange,
            symbol=line.instrument.symbol,
            state=state,
            ts_ms=time.time_ns() // 1_000_000,
            from_ms=before.ts_ms,
            to_ms=after.ts_ms + 1,
            from_id=before.trade_id if line.continuity.ordered else None,
            to_id=after.trade_id if line.continuity.ordered else None,
            trades=trades,
            reason=reason,
        )
        log.info(state, exchange=self._exchange, symbol=change.symbol, from_id=change.from_id, to_id=change.to_id)
        self._inbox.announce(change)
