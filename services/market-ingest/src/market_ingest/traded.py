"""The candles that are made from trades themselves, 1m and 1s, with flat ones where nobody traded."""

from __future__ import annotations

import numpy as np

from market_ingest.columns import Candles, Ints, flat, join
from market_ingest.levels import Level
from tocsin_common.events import TradesReceived


class TradedLevel(Level):
    """A level that knows silence.

    `settled_ms`: every interval before it is decided (candle, flat or gap); `price` is the last close. Silence longer
    than `gap_ms` is a gap. `after_gap`: trades were lost since the last one, so the silence before the next is one too.
    """

    def __init__(self, timeframe: str, *, gap_ms: int) -> None:
        super().__init__(timeframe)
        self.settled_ms: int | None = None
        self.price = 0.0
        self.after_gap = False
        self._gap_ms = gap_ms

    def add_trades(self, rows: Candles, gaps: list[tuple[int, int]]) -> tuple[Candles, int]:
        """Take trades in the order they arrived, each as a row of its own; `gaps` gets (from_ms, to_ms).

        Returns the candles that closed, flat ones among them, and how many trades were late.
        """
        self.origin = "trades"
        gap_at = self._gap_before(rows.open_ms) if self.after_gap else None
        traded, late = self.add(rows)
        if late == len(rows) or self.open_ms is None:
            return traded, late
        self.after_gap = False
        if self._is_unbroken(traded, self.open_ms):
            self.settled_ms = self.open_ms
            return traded, late
        return self._with_silence(traded, self.open_ms, gap_at, gaps), late

    def go_on(self, trades: TradesReceived) -> bool:
        """Take trades that all belong to the open candle, as nearly every trade does that just happened. False: these
        do not, and none is taken."""
        candle, ts_ms = self._open, trades.ts_ms
        if candle is None or self.after_gap:
            return False
        if min(ts_ms) < candle.open_ms or max(ts_ms) >= candle.open_ms + self.length_ms:
            return False
        self.origin = "trades"
        candle.trade(trades.price, trades.amount)
        return True

    def close_clocked(self, through_ms: int, *, flats: bool) -> Candles:
        """Close what ends at `through_ms` (a boundary) or before; later trades of before are late. `flats`: make the
        silence since the last trade flat candles."""
        closed = self.close_through(through_ms)
        if len(closed):
            self.settled_ms, self.price = self.closed_ms, float(closed.close[-1])
        if flats and not self.after_gap and self.open_ms is None and self.settled_ms is not None:
            silent = np.arange(self.settled_ms, through_ms, self.length_ms)
            if len(silent):
                closed = join([closed, flat(silent, self.price)])
                self.settled_ms = through_ms
        self.closed_ms = max(self.closed_ms, through_ms)
        return closed

    def settle(self, candles: Candles) -> None:
        """These candles are closed, and published."""
        super().settle(candles)
        self.settled_ms, self.price = self.closed_ms, float(candles.close[-1])

    def remember(self, rows: Candles) -> None:
        """After a restart, when the level is settled: the open candle is made of these trades."""
        self.add(rows)
        if self.open_ms is not None:
            self.settled_ms = self.open_ms

    def _gap_before(self, ts_ms: Ints) -> int | None:
        """Which silence of trades at these times is the gap: the one before the open candle closes, the one after it,
        or (None) none, because the gap lies inside that candle."""
        if self.open_ms is None:
            return 0
        fresh = ts_ms[ts_ms >= self.open_ms]
        return 1 if len(fresh) and fresh[0] >= self.open_ms + self.length_ms else None

    def _is_unbroken(self, traded: Candles, open_ms: int) -> bool:
        """Whether there was a trade in every interval from the last decided one on."""
        silent_ms = -1 if self.settled_ms is None else open_ms - self.settled_ms - len(traded) * self.length_ms
        return not silent_ms

    def _with_silence(self, traded: Candles, open_ms: int, gap_at: int | None, gaps: list[tuple[int, int]]) -> Candles:
        """Put flat candles into the silence before each traded one, except where it is a gap: a long one, and the one
        numbered `gap_at`."""
        opens = np.append(traded.open_ms, open_ms)
        first_ms = opens[0] if self.settled_ms is None else self.settled_ms
        ends = np.concatenate(([first_ms], traded.open_ms + self.length_ms))
        prices = np.concatenate(([self.price], traded.close))
        silence = opens - ends
        self.settled_ms = open_ms
        if not silence.any():
            return traded
        is_gap = silence > self._gap_ms
        if gap_at is not None:
            is_gap[gap_at] = silence[gap_at] > 0
        gaps += [(int(ends[at]), int(opens[at])) for at in np.flatnonzero(is_gap).tolist()]
        silent = np.where(is_gap, 0, silence) // self.length_ms
        first = np.repeat(ends, silent)
        position = np.arange(len(first)) - np.repeat(np.cumsum(silent) - silent, silent)
        both = join([traded, flat(first + position * self.length_ms, np.repeat(prices, silent))])
        return both.rows(np.argsort(both.open_ms, kind="stable"))
