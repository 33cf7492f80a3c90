"""Candles from before our own: fetched when an instrument is seen first, and published as `history`.

One task per exchange, so that none waits for another. What is on CANDLES is not fetched again: a restart goes on
where the stream ends. How far history reaches, and where it ends, is the rule of the seam (`shelf`).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import structlog

from market_ingest.columns import CandleRows, Candles, Instrument
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import FetchCandles, Key, OnPause, pages
from market_ingest.history.shelf import Missing, Shelf, first_trade_ms, missing, read_shelf
from market_ingest.ingest import candle_events
from tocsin_common.bus.consume import backoff_s, pause
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Rejected, Retryable, Unreachable
from tocsin_trading.timeframes import TIMEFRAMES

log = structlog.get_logger()

FIRST_TRADE_MS = 10_000
"""How long the first trade is waited for: exchanges that greet with older trades do it when one subscribes, and then
our first candle is older than the moment the instrument was taken up."""

LOOK_S, LOOK_MAX_S = 1.0, 30.0
"""How soon an instrument is looked at again that has not traded yet, at first and at most; also how soon a new one is
noticed."""


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Pending:
    """An instrument whose history is not complete. `due_s`: when to look next, by the loop's clock."""

    instrument: Instrument
    taken_up_ms: int
    shelves: dict[str, Shelf] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    looks: int = 0
    due_s: float = 0.0


class Backfill:
    """Use `run` beside a live source. `instruments` gives what is live at the moment; `candles`: wanted per timeframe,
    0 for none."""

    def __init__(
        self,
        bus: Bus,
        fetch: FetchCandles,
        metrics: HistoryMetrics,
        *,
        instruments: Callable[[], Collection[Instrument]],
        candles: int,
        timeframes: Sequence[str] = TIMEFRAMES,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._bus = bus
        self._fetch = fetch
        self._metrics = metrics
        self._instruments = instruments
        self._candles = candles
        self._timeframes = timeframes
        self._now_ms = now_ms
        self._pending: dict[str, dict[Instrument, _Pending]] = defaultdict(dict)
        self._known: set[Instrument] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch and publish until `stop` is set."""
        if not self._candles:
            return
        tasks: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            stopping = False
            while not stopping:
                self._follow()
                for exchange in self._pending.keys() - tasks.keys():
                    tasks[exchange] = group.create_task(self._exchange(exchange), name=f"history {exchange}")
                stopping = await pause(stop, LOOK_S)
            for task in tasks.values():
                task.cancel()

    def _follow(self) -> None:
        """Take up new instruments; of those let go, what is missing stays missing."""
        live = set(self._instruments())
        for instrument in live - self._known:
            self._pending[instrument.exchange][instrument] = _Pending(instrument, self._now_ms())
        for instrument in self._known - live:
            self._pending[instrument.exchange].pop(instrument, None)
        self._known = live

    async def _exchange(self, exchange: str) -> None:
        """Instrument by instrument, one request at a time: whoever repairs a gap at the same exchange waits for no
        more than that."""
        loop, pending = asyncio.get_running_loop(), self._pending[exchange]
        while True:
            for one in [one for one in pending.values() if one.due_s <= loop.time()]:
                await self._look(one)
                one.due_s = loop.time() + min(LOOK_S * 2.0**one.looks, LOOK_MAX_S)
                one.looks += 1
                if one.done.issuperset(self._timeframes):
                    pending.pop(one.instrument, None)
                    log.info("history is complete", **one.instrument._asdict(), instruments_left=len(pending))
            self._metrics.pending.labels(exchange).set(len(pending))
            due_s = min((one.due_s for one in pending.values()), default=loop.time() + LOOK_S)
            await asyncio.sleep(max(0.0, min(due_s - loop.time(), LOOK_S)))

    async def _look(self, one: _Pending) -> None:
        try:
            await self._fill_what_is_missing(one)
        except (Retryable, Unreachable) as error:
            log.warning("history has to wait", **one.instrument._asdict(), error=str(error))

    async def _fill_what_is_missing(self, one: _Pending) -> None:
        first_ms = await first_trade_ms(self._bus, one.instrument)
        greeting = first_ms is None and self._now_ms() - one.taken_up_ms < FIRST_TRADE_MS
        for timeframe in [name for name in self._timeframes if name not in one.done]:
            key = Key(one.instrument, timeframe)
            shelf = one.shelves.get(timeframe)
            if shelf is None:
                shelf = await read_shelf(self._bus, key, candles=self._candles, now_ms=self._now_ms())
                one.shelves[timeframe] = shelf
            if greeting and shelf.own_ms is None:
                continue
            times = {"taken_up_ms": one.taken_up_ms, "now_ms": self._now_ms()}
            gap = missing(key, shelf, candles=self._candles, first_trade_ms=first_ms, **times)
            if not await self._filled(key, shelf, gap) or gap.last:
                one.done.add(timeframe)

    async def _filled(self, key: Key, shelf: Shelf, gap: Missing) -> bool:
        """Fetch and publish what is missing. False: the exchange refuses, now and later; it is said and counted."""
        exchange = key.instrument.exchange
        try:
            async for candles in pages(self._fetch, key, gap.from_ms, gap.to_ms, on_pause=self._paused(exchange)):
                await self._publish(key, candles)
                shelf.history_ms = int(candles.open_ms[-1]) + key.length_ms
                self._metrics.candles.labels(exchange, key.timeframe).inc(len(candles))
        except Rejected as error:
            where = {**key.instrument._asdict(), "timeframe": key.timeframe}
            log.warning("no history until the next start", **where, error=str(error))
            self._metrics.given_up.labels(exchange, error.reason).inc()
            return False
        shelf.history_ms = gap.to_ms
        return True

    async def _publish(self, key: Key, candles: Candles) -> None:
        """Store one page; the ids are derived, so trying again stores nothing twice."""
        events = candle_events(CandleRows(key.instrument, key.timeframe, "history", candles), candles)
        attempt = 0
        while True:
            try:
                await self._bus.publish(events)
            except Unreachable as error:
                attempt += 1
                log.warning("cannot publish history, trying again", error=str(error), attempt=attempt)
                await asyncio.sleep(backoff_s(attempt))
            else:
                return

    def _paused(self, exchange: str) -> OnPause:
        return lambda reason, seconds: self._metrics.paused.labels(exchange, reason).inc(seconds)
