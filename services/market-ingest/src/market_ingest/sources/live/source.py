"""Live trades of real exchanges: one independent feed per exchange, and chunks of what arrived together."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from market_ingest.columns import Instrument
from market_ingest.config import LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.chunk import Chunk
from market_ingest.sources.live.exchange import known_exchanges
from market_ingest.sources.live.feed import Feed
from market_ingest.sources.live.inbox import Inbox
from tocsin_common.errors import ConfigError
from tocsin_common.events import TradesReceived

IDLE_S = 0.25
"""A chunk comes at least this often, so that the clock closes candles while nobody trades."""


class LiveSource:
    """Implements `Source`: the trades of several exchanges as they happen.

    An instrument begins in two steps: a chunk asks for it in `added`; before the next chunk is asked for, `remember`
    tells its last stored trades. From those on its trades are fetched, so that nothing of the time between is missing.
    """

    source_id = "live"
    live = True

    def __init__(self, settings: LiveSettings, metrics: IngestMetrics) -> None:
        self.feeds: dict[str, Feed] = {}
        self.settings = settings
        self.owns: Callable[[Instrument], bool] = lambda _: True
        """Which instruments are ours, where several replicas share the market; say `shares_changed` when it changes."""
        self._metrics = metrics
        self._inbox = Inbox()
        self._stored: dict[Instrument, list[TradesReceived]] = defaultdict(list)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What is watched at the moment."""
        return [Instrument(name, symbol) for name, feed in self.feeds.items() for symbol in feed.symbols]

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """These trades are on the stream already, oldest first."""
        for batch in stored:
            self._stored[Instrument(batch.exchange, batch.symbol)].append(batch)

    async def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        """What arrived together, for ever. Raises ConfigError for an exchange ccxt does not have."""
        await self.start()
        collected_s = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._inbox.arrived.wait()
                # Storing the last chunk took a while in which more arrived: that counts.
                await asyncio.sleep(max(0.0, collected_s + self.settings.flush_ms / 1000 - time.monotonic()))
            collected_s = time.monotonic()
            for feed in self.feeds.values():
                feed.collect()
            chunk = self._inbox.empty(time.time_ns() // 1_000_000)
            yield chunk
            self._begin(chunk.added)

    async def start(self) -> None:
        """Connect to everything. Raises ConfigError."""
        known = await known_exchanges()
        unknown = [name for name in self.settings.exchanges if name not in known]
        if unknown:
            raise ConfigError(
                [f"market_ingest.source.exchanges.{name}: not an exchange of ccxt.pro." for name in unknown]
            )
        for name, settings in self.settings.exchanges.items():
            feed = Feed(name, settings, self.settings, self._inbox, self._metrics)
            feed.owns = lambda instrument: self.owns(instrument)
            self.feeds[name] = feed
            self._tasks.append(asyncio.create_task(self.feeds[name].run(), name=f"feed {name}"))

    def exchange(self, name: str) -> Any:
        """The ccxt instance of an exchange's REST requests: markets are loaded, the rate limiter sees everybody's.

        Raises KeyError before the source runs and for exchanges that are not configured.
        """
        return self.feeds[name].rest

    def shares_changed(self) -> None:
        """Other instruments are ours than before: begin with the new ones, leave the others."""
        for feed in self.feeds.values():
            feed.follow_shares()

    async def close(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def problem(self) -> str | None:
        """Which exchanges send nothing at the moment."""
        problems = [f"{name}: {feed.problem}" for name, feed in sorted(self.feeds.items()) if feed.problem]
        return "; ".join(problems) or None

    def _begin(self, added: Sequence[Instrument]) -> None:
        by_exchange: dict[str, list[str]] = defaultdict(list)
        for exchange, symbol in added:
            by_exchange[exchange].append(symbol)
        for exchange, symbols in by_exchange.items():
            self.feeds[exchange].begin(symbols, self._stored)
        for instrument in added:
            self._stored.pop(instrument, None)
