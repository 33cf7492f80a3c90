"""Candles from trades, and longer candles from shorter ones. Pure: no clock, no I/O.

Rules:

- A candle closes when its instrument's event time passes its end: a trade of a later interval, or the market clock
  (the caller's; grace already taken off). A trade of an interval that is over is late: counted, in no candle.
- Longer candles are made from the next shorter ones and close as soon as the instrument is past their end. Whatever
  shorter candles exist in them count, so the first, the last and those around gaps may be partial.
- A minute without trades between two trades is a flat candle (open = high = low = close = the price before, volume
  0), unless the silence is a gap. Flat candles never shape a longer candle that traded, so a longer candle is what
  one would get from its trades alone; it is flat only if all of it was silent.
- There is one candle per instrument, timeframe and open time: the first to close.

Results do not depend on how trades are batched. Volume is exact (see `exact`); a longer candle's volume is the exact
sum of its shorter candles' volumes, which equals the sum of the amounts as long as these sums have at most 15 digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from market_ingest.columns import NO_CANDLES, CandleRows, Candles, Instrument, Trades, flat, join
from market_ingest.levels import Level
from market_ingest.validate import END_OF_TIME_MS
from tocsin_common.events import Origin
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

MINUTE_MS = TIMEFRAME_MS["1m"]


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
    """All timeframes of one instrument.

    `settled_ms`: every minute before it is decided (candle, flat or gap); `price` is the last close. `unbroken`: no
    interruption of a live feed since the last trade, so silence means that nobody traded.
    """

    def __init__(self, instrument: Instrument, *, gap_ms: int, flats_by_clock: bool) -> None:
        self.instrument = instrument
        self.levels = [Level(timeframe) for timeframe in TIMEFRAMES]
        self.settled_ms: int | None = None
        self.price = 0.0
        self.unbroken = False
        self._through_ms = 0
        self._gap_ms = gap_ms
        self._flats_by_clock = flats_by_clock

    def add_trades(self, trades: Trades, out: Closed) -> None:
        """Take trades in the order they arrived."""
        minutes = self.levels[0]
        minutes.origin = "trades"
        traded, late = minutes.add(_as_rows(trades))
        out.late += late
        if late == len(trades) or minutes.open_ms is None:
            return
        closed = self._with_silence(traded, minutes.open_ms, out)
        self.unbroken = True
        self._cascade(0, closed, minutes.open_ms, out)

    def add_candles(self, timeframe: str, origin: Origin, candles: Candles, out: Closed) -> None:
        """Take closed candles of a timeframe, oldest first; those of closed intervals are counted and dropped."""
        index = TIMEFRAMES.index(timeframe)
        level = self.levels[index]
        fresh = candles.open_ms >= level.closed_ms
        out.repeated += len(candles) - int(np.count_nonzero(fresh))
        candles = candles if fresh.all() else candles.rows(fresh)
        if not len(candles):
            return
        level.origin = origin
        candles = level.replace(candles)
        if index == 0:
            self.settled_ms, self.price = level.closed_ms, float(candles.close[-1])
        self._cascade(index, candles, level.closed_ms, out)

    def advance(self, through_ms: int, out: Closed) -> None:
        """Every interval that ends at `through_ms` (a whole minute) or before is over."""
        minutes = self.levels[0]
        closed = minutes.close_through(through_ms)
        if len(closed):
            self.settled_ms, self.price = minutes.closed_ms, float(closed.close[-1])
        quiet_since = self.settled_ms if self._flats_by_clock and self.unbroken and minutes.open_ms is None else None
        if quiet_since is not None and quiet_since < through_ms:
            closed = join([closed, flat(np.arange(quiet_since, through_ms, MINUTE_MS), self.price)])
            self.settled_ms = through_ms
        minutes.closed_ms = max(minutes.closed_ms, min(through_ms, END_OF_TIME_MS))
        self._cascade(0, closed, through_ms, out)

    def since_ms(self, clock_ms: int) -> int | None:
        """The earliest moment whose candles still matter: those an open longer one is made of, and the last minute
        as long as flat candles may follow it."""
        opens = [level.open_ms for level in self.levels[1:] if level.open_ms is not None]
        if self.settled_ms is not None and clock_ms - self.settled_ms <= self._gap_ms:
            opens.append(self.settled_ms - MINUTE_MS)
        return min(opens, default=None)

    def settle(self, timeframe: str, candles: Candles) -> None:
        """After a restart: these candles are closed and published."""
        level = self.levels[TIMEFRAMES.index(timeframe)]
        level.closed_ms = int(candles.open_ms[-1]) + level.length_ms
        if level is self.levels[0]:
            self.settled_ms, self.price = level.closed_ms, float(candles.close[-1])

    def remember_candles(self, rows: CandleRows, out: Closed) -> None:
        """After a restart, when all levels are settled: the next longer open candle is made of these.

        Longest timeframe first. What had closed but was not stored in time closes now.
        """
        index = TIMEFRAMES.index(rows.timeframe) + 1
        if index == len(self.levels):
            return
        longer = self.levels[index]
        longer.origin = rows.origin
        closed, _ = longer.add(rows.candles)
        if len(closed):
            self._cascade(index, closed, longer.closed_ms, out)

    def remember_trades(self, trades: Trades) -> None:
        """After a restart, when all levels are settled: the open minute is made of these."""
        minutes = self.levels[0]
        minutes.add(_as_rows(trades))
        if minutes.open_ms is not None:
            self.settled_ms = minutes.open_ms

    def _with_silence(self, traded: Candles, open_ms: int, out: Closed) -> Candles:
        """Put flat candles into the silent minutes before each traded one; longer silences are gaps."""
        if self.settled_ms == open_ms and not len(traded):
            return traded
        opens = np.append(traded.open_ms, open_ms)
        ends = np.concatenate(([opens[0] if self.settled_ms is None else self.settled_ms], traded.open_ms + MINUTE_MS))
        prices = np.concatenate(([self.price], traded.close))
        silence = opens - ends
        self.settled_ms = open_ms
        if not silence.any():
            return traded
        is_gap = silence > (END_OF_TIME_MS if self._flats_by_clock else self._gap_ms)
        is_gap[0] |= self._flats_by_clock and not self.unbroken and silence[0] > 0
        for at in np.flatnonzero(is_gap).tolist():
            out.gaps.append(Gap(self.instrument, int(ends[at]), int(opens[at])))
        minutes = np.where(is_gap, 0, silence) // MINUTE_MS
        first = np.repeat(ends, minutes)
        position = np.arange(len(first)) - np.repeat(np.cumsum(minutes) - minutes, minutes)
        both = join([traded, flat(first + position * MINUTE_MS, np.repeat(prices, minutes))])
        return both.rows(np.argsort(both.open_ms, kind="stable"))

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
    """The candles of all instruments of a source."""

    def __init__(self, *, gap_ms: int, grace_ms: int, flats_by_clock: bool) -> None:
        self.gap_ms = gap_ms
        self.instruments: dict[Instrument, InstrumentCandles] = {}
        self._grace_ms = grace_ms
        self._flats_by_clock = flats_by_clock
        self._through_ms = 0

    def of(self, instrument: Instrument) -> InstrumentCandles:
        """The candles of one instrument."""
        found = self.instruments.get(instrument)
        if found is None:
            found = InstrumentCandles(instrument, gap_ms=self.gap_ms, flats_by_clock=self._flats_by_clock)
            self.instruments[instrument] = found
        return found

    def advance(self, clock_ms: int, out: Closed) -> None:
        """The market clock stands at `clock_ms`: close what has been over for the grace period."""
        through_ms = (clock_ms - self._grace_ms) // MINUTE_MS * MINUTE_MS
        if through_ms > self._through_ms:
            self._through_ms = through_ms
            for candles in self.instruments.values():
                candles.advance(through_ms, out)

    def finish(self, out: Closed) -> None:
        """The source has ended: close everything that is open."""
        for candles in self.instruments.values():
            candles.advance(END_OF_TIME_MS // MINUTE_MS * MINUTE_MS, out)

    def interrupt(self, exchange: str) -> None:
        """A live feed broke: until the next trade of each instrument, silence says nothing."""
        for instrument, candles in self.instruments.items():
            if instrument.exchange == exchange:
                candles.unbroken = False


def _as_rows(trades: Trades) -> Candles:
    price, counts = trades.price, np.ones(len(trades), np.int64)
    return Candles(trades.ts_ms, price, price, price, price, trades.amount, counts)
