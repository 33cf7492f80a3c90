"""Mending broken lines over REST: who is next, how long live trades wait, and what is given up."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from market_ingest.sources.live.backfill import Backfill
from market_ingest.sources.live.connection import Connection
from market_ingest.sources.live.exchange import in_words
from market_ingest.sources.live.lines import Line, Lines, Trouble
from tocsin_common.bus.consume import backoff_s

log = structlog.get_logger()

LOOK_S = 0.05
AT_A_TIME = 4
"""Repairs of one exchange that run together; its rate limiter orders their requests."""

SETTLE_S = 0.3
"""A missing id is looked for over REST after this: trades that changed places on the way need no repair."""

SUBSCRIBED_S = 1.0
"""Where nothing came live yet, the subscription is taken to work this long after the connection spoke first."""

DEAF_MS = 3_000
"""Trades older than this that only REST knows should have come live."""

AGAIN_S = 0.5


class Connected(Protocol):
    """What repairs need of a feed."""

    @property
    def lines(self) -> Lines: ...

    def connection(self, symbol: str) -> Connection | None: ...

    def drain(self, symbol: str) -> None: ...


class Repairs:
    """The repairs of one exchange. `patience_s`: how long trades that arrived wait for those that did not."""

    def __init__(self, feed: Connected, backfill: Backfill, patience_s: float) -> None:
        self._feed = feed
        self._backfill = backfill
        self._patience_s = patience_s
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._give_up_overdue()
                for line in self._due()[: AT_A_TIME - len(self._running)]:
                    task = asyncio.create_task(self._repair(line))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._running:
                task.cancel()

    def _due(self) -> list[Line]:
        """Broken lines whose repair may begin: those first whose trades wait, the longest first."""
        now_s = time.monotonic()
        due: list[tuple[bool, float, str, Line]] = []
        for symbol, line in self._feed.lines.by_symbol.items():
            if line.trouble is not None and self._may_begin(line, line.trouble, now_s):
                due.append((not line.continuity.held, line.trouble.since_s, symbol, line))
        return [line for *_, line in sorted(due, key=lambda entry: entry[:3])]

    def _may_begin(self, line: Line, trouble: Trouble, now_s: float) -> bool:
        connection = self._feed.connection(line.instrument.symbol)
        if trouble.running or now_s < trouble.not_before_s or connection is None or connection.connected_s is None:
            return False
        if trouble.held_since_s is not None:
            return now_s - trouble.held_since_s >= SETTLE_S
        return now_s - max(connection.connected_s, trouble.since_s) >= SUBSCRIBED_S

    def _give_up_overdue(self) -> None:
        now_s = time.monotonic()
        for symbol, line in list(self._feed.lines.by_symbol.items()):
            trouble = line.trouble
            if trouble is None or trouble.held_since_s is None or not line.continuity.held:
                continue
            if now_s - trouble.held_since_s > self._patience_s:
                log.warning("giving up a gap", exchange=line.instrument.exchange, symbol=symbol)
                self._feed.lines.give_up(symbol)

    async def _repair(self, line: Line) -> None:
        trouble = line.trouble
        if trouble is None:
            return
        trouble.running = True
        try:
            await self._fetch(line)
        except Exception as error:
            log.warning("repair failed", **line.instrument._asdict(), error=in_words(error))
            trouble.not_before_s = time.monotonic() + backoff_s(trouble.attempts + 1)
        else:
            trouble.not_before_s = time.monotonic() + AGAIN_S * (trouble.attempts + 1)
        finally:
            trouble.running = False
            trouble.attempts += 1

    async def _fetch(self, line: Line) -> None:
        """Page REST from where the line ends until it is whole."""
        symbol, reason = line.instrument.symbol, line.trouble.reason if line.trouble else ""
        if line.continuity.last is None:
            return
        asked_at = line.continuity.interruptions
        async for page in self._backfill.after(symbol, line.continuity.last):
            self._feed.drain(symbol)
            if self._feed.lines.by_symbol.get(symbol) is not line or self._feed.connection(symbol) is None:
                return
            complete = page.complete and line.continuity.interruptions == asked_at
            released = self._feed.lines.fetched(symbol, page.rows, reaches_back=page.reaches_back, complete=complete)
            asked_at = line.continuity.interruptions
            if released.fetched and reason == "silent":
                self._replace_if_deaf(symbol, min(row.ts_ms for row in page.rows))
            if line.continuity.broken is None:
                return

    def _replace_if_deaf(self, symbol: str, oldest_ms: int) -> None:
        """Trades happened long enough ago, and the connection did not bring them."""
        connection = self._feed.connection(symbol)
        if connection is not None and time.time_ns() // 1_000_000 - oldest_ms > DEAF_MS:
            connection.replace(f"trades of {symbol} do not arrive")
