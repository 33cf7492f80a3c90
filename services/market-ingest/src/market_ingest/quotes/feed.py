"""Collects quotes, funding and tickers of one exchange, on a ccxt connection of its own: its trouble is nobody else's.

What ccxt can watch is watched, else asked for in turns. Every kind is collected by a task of its own; what fails is
tried again later and said once. Values are told by `Latest`, so a busy book costs no more than a quiet one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from market_ingest.metrics import IngestMetrics
from market_ingest.quotes.latest import Latest
from market_ingest.quotes.rows import NORMALISED, Kind, Refused, Row, Told
from tocsin_common.bus.consume import backoff_s, pause
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Unreachable
from tocsin_common.events import FundingChanged, QuoteMoved, TickerUpdated

log = structlog.get_logger()

EVERY_MS: dict[type[Told], int] = {QuoteMoved: 250, FundingChanged: 10_000, TickerUpdated: 5_000}
"""A subject's values are told at most so often."""

COLLECT_S = 0.05
"""ccxt reports one symbol at a time, so all that came meanwhile is taken together this often."""

TELL_S = 0.1
ASK_S = 15.0
"""Between two requests for what cannot be watched."""

WATCH: dict[Kind, tuple[str, str, str]] = {
    "quotes": ("watchBidsAsks", "watch_bids_asks", "bidsasks"),
    "tickers": ("watchTickers", "watch_tickers", "tickers"),
}
"""By kind: what ccxt calls the ability, the method, and the cache that holds every symbol's last row."""

ASK: dict[Kind, tuple[str, str]] = {
    "quotes": ("fetchBidsAsks", "fetch_bids_asks"),
    "funding": ("fetchFundingRates", "fetch_funding_rates"),
    "tickers": ("fetchTickers", "fetch_tickers"),
}


class QuoteFeed:
    """One exchange. `exchange` is a ccxt.pro instance nobody else uses; `symbols` gives what is wanted now."""

    def __init__(
        self,
        name: str,
        exchange: Any,
        kinds: Iterable[Kind],
        symbols: Callable[[], Sequence[str]],
        bus: Bus,
        metrics: IngestMetrics,
    ) -> None:
        self._name = name
        self._exchange = exchange
        self._kinds = list(kinds)
        self._symbols = symbols
        self._bus = bus
        self._metrics = metrics
        self._latest = Latest(EVERY_MS)
        self._taken: dict[tuple[Kind, str], Row] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Collect and tell until `stop` is set."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._collect(kind, stop)) for kind in self._kinds]
                await self._tell(stop)
                for task in tasks:
                    task.cancel()
        finally:
            await self._exchange.close()

    async def _tell(self, stop: asyncio.Event) -> None:
        while not await pause(stop, TELL_S):
            values = self._latest.due(_now_ms())
            try:
                if values:
                    await self._bus.publish(values)
            except Unreachable as error:
                log.warning("quotes not stored, newer ones will be", exchange=self._name, error=str(error))

    async def _collect(self, kind: Kind, stop: asyncio.Event) -> None:
        """Collect one kind until `stop` is set; where the exchange offers it in no way, say so and end."""
        watched = kind in WATCH and self._exchange.has.get(WATCH[kind][0])
        if not watched and not self._exchange.has.get(ASK[kind][0]):
            log.warning("the exchange does not offer this", exchange=self._name, kind=kind)
            return
        attempt, wait_s = 0, 0.0
        while not await pause(stop, wait_s):
            try:
                await self._exchange.load_markets()
                symbols = self._listed(kind)
                if symbols and watched:
                    await self._watch(kind, symbols)
                elif symbols:
                    self._take(kind, symbols, await getattr(self._exchange, ASK[kind][1])(symbols))
            except Exception as error:  # whatever ccxt raises: this feed goes on, and the trades know nothing of it
                attempt += 1
                wait_s = backoff_s(attempt)
                log.warning("quotes interrupted", exchange=self._name, kind=kind, error=type(error).__name__)
            else:
                attempt, wait_s = 0, COLLECT_S if symbols and watched else ASK_S

    async def _watch(self, kind: Kind, symbols: Sequence[str]) -> None:
        """Wait for one symbol to move, then take every one that did."""
        _, method, cache = WATCH[kind]
        await getattr(self._exchange, method)(symbols)
        self._take(kind, symbols, getattr(self._exchange, cache))

    def _listed(self, kind: Kind) -> list[str]:
        """The wanted symbols that are listed; funding is a matter of perpetuals."""
        markets = self._exchange.markets
        listed = [symbol for symbol in self._symbols() if symbol in markets]
        return [symbol for symbol in listed if markets[symbol].get("swap")] if kind == "funding" else listed

    def _take(self, kind: Kind, symbols: Sequence[str], rows: Mapping[str, Row]) -> None:
        """Take the rows that are not the very ones taken before: ccxt makes a new one for every change."""
        received_ms = _now_ms()
        for symbol in symbols:
            row = rows.get(symbol)
            if row is None or row is self._taken.get((kind, symbol)):
                continue
            self._taken[kind, symbol] = row
            try:
                self._latest.put(NORMALISED[kind](self._name, row, received_ms))
            except Refused as refused:
                self._metrics.rejected(kind, {str(refused): 1})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
