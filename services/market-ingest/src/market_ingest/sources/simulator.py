"""A simulated market on the exchange `simulator`: endless, and the same for the same seed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence

import numpy as np

from market_ingest.candles import CandleBuilder, Closed
from market_ingest.columns import CandleRows, Instrument, TradeRows, Trades, join
from market_ingest.config import SimulatorSettings
from market_ingest.sources.chunk import Chunk
from market_ingest.sources.walk import DAY_MS, MINUTE_MS, SymbolWalk
from tocsin_common.events import TradesReceived
from tocsin_trading.timeframes import TIMEFRAMES

EXCHANGE = "simulator"

START_MS = 1_735_689_600_000
"""Simulated trading starts on 2025-01-01 00:00 UTC, always: what happens may not depend on when it is run."""

HISTORY_TIMEFRAME_MS = 3_600_000
"""History reaches back far enough for the configured number of candles of this timeframe; longer ones get fewer."""

TICK_S = 0.05
"""How often new trades are given out."""

STEP_MS_MAX = MINUTE_MS
"""Market time between two chunks at most, also when running as fast as possible."""

HISTORY_GIVEN = 1
"""Cursor 0: nothing has been given. After the history the cursor is this plus the market time since the start."""


class SimulatorSource:
    """Implements `Source`."""

    live = False

    def __init__(self, settings: SimulatorSettings) -> None:
        self.source_id = f"simulator:{settings.seed}"
        self.instruments: Sequence[Instrument] = [Instrument(EXCHANGE, symbol) for symbol in settings.symbols]
        self._speed = settings.speed
        self._history_candles = settings.history_candles
        self._history_days = math.ceil(settings.history_candles * HISTORY_TIMEFRAME_MS / DAY_MS)
        self._walks = {
            item: SymbolWalk(settings.seed, item.symbol, settings.trades_per_minute) for item in self.instruments
        }
        self._minute: tuple[int, list[TradeRows]] | None = None

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """Nothing: the simulator never repeats a trade."""

    async def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        if cursor < HISTORY_GIVEN:
            cursor = HISTORY_GIVEN
            yield Chunk(clock_ms=START_MS, cursor=cursor, candles=await asyncio.to_thread(self._history))
        elapsed_ms = cursor - HISTORY_GIVEN
        async for step_ms in self._steps():
            trades = self._between(elapsed_ms, elapsed_ms + step_ms)
            elapsed_ms += step_ms
            yield Chunk(clock_ms=START_MS + elapsed_ms, cursor=HISTORY_GIVEN + elapsed_ms, trades=trades)

    async def _steps(self) -> AsyncIterator[int]:
        """Market time that passes from chunk to chunk. Time in which nobody asks for chunks is lost, not made up."""
        owed_ms = 0.0
        while True:
            if not self._speed:
                yield STEP_MS_MAX
                await asyncio.sleep(0)
                continue
            started_s = time.monotonic()
            await asyncio.sleep(TICK_S)
            owed_ms += (time.monotonic() - started_s) * 1000 * self._speed
            while owed_ms >= 1:
                step_ms = min(int(owed_ms), STEP_MS_MAX)
                owed_ms -= step_ms
                yield step_ms

    def _between(self, from_ms: int, to_ms: int) -> list[TradeRows]:
        """Trades of `from_ms <= t < to_ms`, counted from the start."""
        found = []
        for minute in range(from_ms // MINUTE_MS, (to_ms - 1) // MINUTE_MS + 1):
            beginning_ms = minute * MINUTE_MS
            for rows in self._of_minute(minute):
                within = (from_ms - beginning_ms, to_ms - beginning_ms)
                first, end = np.searchsorted(rows.trades.ts_ms - (START_MS + beginning_ms), within).tolist()
                if first < end:
                    found.append(TradeRows(rows.instrument, rows.trades.rows(first, end)))
        return found

    def _of_minute(self, minute: int) -> list[TradeRows]:
        if self._minute is None or self._minute[0] != minute:
            absolute = minute + self._history_days * (DAY_MS // MINUTE_MS)
            self._minute = (
                minute,
                [
                    TradeRows(instrument, _at(walk.trades(absolute), START_MS + minute * MINUTE_MS))
                    for instrument, walk in self._walks.items()
                ],
            )
        return self._minute[1]

    def _history(self) -> list[CandleRows]:
        """The newest candles of every timeframe before the start, longer timeframes first."""
        beginning_ms = START_MS - self._history_days * DAY_MS
        found: list[CandleRows] = []
        for instrument, walk in self._walks.items():
            if not self._history_days:
                continue
            days = join([walk.candles(number) for number in range(self._history_days)])
            closed = Closed()
            candles = CandleBuilder(gap_ms=0, grace_ms=0, flats_by_clock=False).of(instrument)
            candles.add_candles("1m", "history", days.moved(beginning_ms), closed)
            newest = {rows.timeframe: rows for rows in closed.candles}
            for timeframe in reversed(TIMEFRAMES):
                rows = newest[timeframe]
                last = rows.candles.rows(slice(-self._history_candles, None))
                found.append(CandleRows(instrument, timeframe, "history", last))
        return found


def _at(trades: Trades, beginning_ms: int) -> Trades:
    return Trades(trades.ts_ms + beginning_ms, trades.price, trades.amount, trades.side, trades.trade_id)
