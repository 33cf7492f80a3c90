"""Candles from trades, and longer candles from shorter ones. Pure: no clock, no I/O.

Rules:

- A candle closes when its instrument's event time passes its end: a trade of a later interval, or the market clock
  (the caller's; grace already taken off). A trade of an interval that is over is late: counted, in no candle.
- Longer candles are made from the next shorter ones and close as soon as the instrument is past their end. Whatever
  shorter candles exist in them count, so the first, the last and those around gaps may be partial.
- A minute without trades between two trades is a flat candle (open = high = low = close = the price before, volume
  0), unless the silence is a gap. Flat candles never shape a longer candle that traded, so a longer candle is what
  one would get from its trades alone; it is flat only if all of it was silent.
- The clock closes nothing of an instrument whose live feed is interrupted, and makes no flat candle there. Trades that
  come meanwhile continue those before (they were fetched), and so does everything if the feed becomes whole again. If
  it does not, the minutes between the trades before and the next trade after are a gap: their prices are unknown. A
  gap inside a minute leaves that minute with the trades of both its ends.
- There is one candle per instrument, timeframe and open time: the first to close.

- Candles of 1s, where wanted, are made from the same trades beside all this, so that with and without them every
  longer candle is the same; a trade that comes after one of a later second is late there, and in no 1s candle.

Results do not depend on how trades are batched. Volume is exact (see `exact`); a longer candle's volume is the exact
sum of its shorter candles' volumes, which equals the sum of the amounts as long as these sums have at most 15 digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from market_ingest.columns import NO_CANDLES, CandleRows, Candles, Instrument, Trades, join, trades_of
from market_ingest.levels import Level
from market_ingest.traded import TradedLevel
from market_ingest.validate import END_OF_TIME_MS
from tocsin_common.events import Origin, TradesReceived
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

MINUTE_MS = TIMEFRAME_MS["1m"]

_ONE_EACH = np.ones(512, np.int64)


class Gap(NamedTuple):
    """No trades of an instrument for `from_ms <= t < to_ms`, and no candles either."""

    instrument: Instrument
    from_ms: int
    to_ms: int


@dataclass(slots=True)
class Closed:
    """What came out of the builder: closed candles oldest first per instrument and timeframe, gaps, late trades."""

    candles: list[CandleRows] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    late: int = 0
    repeated: int = 0


class InstrumentCandles:
    """All timeframes of one instrument. `levels` are those from 1m on, each made of the one before; `seconds` is
    beside them. `interrupted`: silence says nothing at the moment."""

    def __init__(self, instrument: Instrument, *, gap_ms: int, flats_by_clock: bool, seconds: bool) -> None:
        self.instrument = instrument
        self.interrupted = False
        longest_ms = END_OF_TIME_MS if flats_by_clock else gap_ms
        self.minutes = TradedLevel("1m", gap_ms=longest_ms)
        self.levels: list[Level] = [self.minutes, *map(Level, TIMEFRAMES[1:])]
        self.seconds = TradedLevel("1s", gap_ms=longest_ms) if seconds else None
        self._through_ms = 0
        self._gap_ms = gap_ms
        self._flats_by_clock = flats_by_clock

    def add_live(self, trades: TradesReceived, out: Closed) -> None:
        """Take a message of live trades."""
        nothing_closes = self.seconds is None and self.minutes.open_ms == self._through_ms
        if not (nothing_closes and self.minutes.go_on(trades)):
            self.add_trades(trades_of(trades), out)

    def add_trades(self, trades: Trades, out: Closed) -> None:
        """Take trades in the order they arrived."""
        rows = _as_rows(trades)
        gaps: list[tuple[int, int]] = []
        if self.seconds is not None:
            self._close_seconds(self.seconds.add_trades(rows, [])[0], out)
        closed, late = self.minutes.add_trades(rows, gaps)
        if gaps:
            out.gaps += [Gap(self.instrument, *gap) for gap in gaps]
        out.late += late
        if late < len(rows) and self.minutes.open_ms is not None:
            self._cascade(0, closed, self.minutes.open_ms, out)

    def add_candles(self, timeframe: str, origin: Origin, candles: Candles, out: Closed) -> None:
        """Take closed candles of 1m or longer, oldest first; those of closed intervals are counted and dropped."""
        index = TIMEFRAMES.index(timeframe)
        level = self.levels[index]
        fresh = candles.open_ms >= level.closed_ms
        out.repeated += len(candles) - int(np.count_nonzero(fresh))
        candles = candles if fresh.all() else candles.rows(fresh)
        if not len(candles):
            return
        level.origin = origin
        candles = level.replace(candles)
        level.settle(candles)
        self._cascade(index, candles, level.closed_ms, out)

    def advance(self, through_ms: int, out: Closed) -> None:
        """Every interval up to `through_ms` (a boundary of `CandleBuilder.step_ms`) is over, unless the feed is
        interrupted."""
        if not self.interrupted:
            self._close_through(through_ms, out, flats=self._flats_by_clock)

    def finish(self, out: Closed) -> None:
        """Nothing comes any more: close everything that is open."""
        self._close_through(END_OF_TIME_MS, out, flats=False)

    def lose(self) -> None:
        """Trades are missing between the last one added and the next one."""
        self.minutes.after_gap = True
        if self.seconds is not None:
            self.seconds.after_gap = True

    def since_ms(self, clock_ms: int) -> int | None:
        """The earliest moment whose candles still matter: those an open longer one is made of, and the last minute
        as long as flat candles may follow it."""
        opens = [level.open_ms for level in self.levels[1:] if level.open_ms is not None]
        settled_ms = self.minutes.settled_ms
        if settled_ms is not None and clock_ms - settled_ms <= self._gap_ms:
            opens.append(settled_ms - MINUTE_MS)
        return min(opens, default=None)

    def settle(self, timeframe: str, candles: Candles) -> None:
        """After a restart: these candles are closed and published."""
        if timeframe in TIMEFRAMES:
            self.levels[TIMEFRAMES.index(timeframe)].settle(candles)
        elif self.seconds is not None:
            self.seconds.settle(candles)

    def remember_candles(self, rows: CandleRows, out: Closed) -> None:
        """After a restart, when all levels are settled: the next longer open candle is made of these.

        Longest timeframe first. What had closed but was not stored in time closes now.
        """
        if rows.timeframe not in TIMEFRAMES[:-1]:
            return
        index = TIMEFRAMES.index(rows.timeframe) + 1
        longer = self.levels[index]
        longer.origin = rows.origin
        closed, _ = longer.add(rows.candles)
        if len(closed):
            self._cascade(index, closed, longer.closed_ms, out)

    def remember_trades(self, trades: Trades) -> None:
        """After a restart, when all levels are settled: the open minute and second are made of these."""
        self.minutes.remember(_as_rows(trades))
        if self.seconds is not None:
            self.seconds.remember(_as_rows(trades))

    def _close_through(self, through_ms: int, out: Closed, *, flats: bool) -> None:
        if self.seconds is not None:
            self._close_seconds(self.seconds.close_clocked(through_ms, flats=flats), out)
        through_ms = through_ms // MINUTE_MS * MINUTE_MS
        self._cascade(0, self.minutes.close_clocked(through_ms, flats=flats), through_ms, out)

    def _close_seconds(self, closed: Candles, out: Closed) -> None:
        if len(closed):
            out.candles.append(CandleRows(self.instrument, "1s", "trades", closed))

    def _cascade(self, index: int, closed: Candles, through_ms: int, out: Closed) -> None:
        """Hand closed candles on from level to level; `through_ms` is how far the instrument's time has come."""
        if index == 0 and not len(closed) and through_ms == self._through_ms:
            return
        self._through_ms = through_ms
        for level, longer in zip(self.levels[index:], [*self.levels[index + 1 :], None], strict=True):
            if len(closed):
                out.candles.append(CandleRows(self.instrument, level.timeframe, level.origin, closed))
            if longer is None:
                return
            shorter, closed = closed, NO_CANDLES
            if len(shorter):
                longer.origin = level.origin
                closed, _ = longer.add(shorter)
            ended = longer.close_through(through_ms)
            if len(ended):
                closed = join([closed, ended]) if len(closed) else ended


class CandleBuilder:
    """The candles of all instruments of a source. `timeframes` are those it makes, shortest first."""

    def __init__(
        self, *, gap_ms: int, grace_ms: int, flats_by_clock: bool, timeframes: Sequence[str] = TIMEFRAMES
    ) -> None:
        self.gap_ms = gap_ms
        self.timeframes = timeframes
        self.step_ms = TIMEFRAME_MS["1s"] if "1s" in timeframes else MINUTE_MS
        self.instruments: dict[Instrument, InstrumentCandles] = {}
        self._grace_ms = grace_ms
        self._flats_by_clock = flats_by_clock
        self._through_ms = 0
        self._resumed: set[Instrument] = set()

    def of(self, instrument: Instrument) -> InstrumentCandles:
        """The candles of one instrument."""
        found = self.instruments.get(instrument)
        if found is None:
            found = InstrumentCandles(
                instrument,
                gap_ms=self.gap_ms,
                flats_by_clock=self._flats_by_clock,
                seconds=self.step_ms < MINUTE_MS,
            )
            self.instruments[instrument] = found
        return found

    def advance(self, clock_ms: int, out: Closed) -> None:
        """The market clock stands at `clock_ms`: close what has been over for the grace period."""
        through_ms = (clock_ms - self._grace_ms) // self.step_ms * self.step_ms
        moved = through_ms > self._through_ms
        self._through_ms = max(through_ms, self._through_ms)
        for instrument in self.instruments if moved else self._resumed:
            self.instruments[instrument].advance(self._through_ms, out)
        self._resumed.clear()

    def finish(self, out: Closed) -> None:
        """The source has ended: close everything that is open."""
        for candles in self.instruments.values():
            candles.finish(out)

    def drop(self, instrument: Instrument) -> None:
        """Somebody else makes the candles of this instrument from now on, the open ones, too."""
        self.instruments.pop(instrument, None)
        self._resumed.discard(instrument)

    def interrupt(self, exchange: str, symbol: str | None = None) -> None:
        """The live feed of an exchange (`symbol` None: of all its instruments known here) or of one symbol broke."""
        if symbol is not None:
            self.of(Instrument(exchange, symbol)).interrupted = True
            return
        for instrument, candles in self.instruments.items():
            if instrument.exchange == exchange:
                candles.interrupted = True

    def resume(self, instrument: Instrument, whole: bool) -> None:
        """The live feed of an instrument works again. The next `advance` closes what is over by then.

        `whole`: every trade since the interruption has been or will be added before that. Otherwise trades are
        missing between the last one added and the next one: add what came before the gap first, then call this,
        then add what came after it.
        """
        candles = self.of(instrument)
        candles.interrupted = False
        if not whole:
            candles.lose()
        self._resumed.add(instrument)


def _as_rows(trades: Trades) -> Candles:
    price, rows = trades.price, len(trades)
    counts = _ONE_EACH[:rows] if rows <= len(_ONE_EACH) else np.ones(rows, np.int64)
    return Candles(trades.ts_ms, price, price, price, price, trades.amount, counts)
