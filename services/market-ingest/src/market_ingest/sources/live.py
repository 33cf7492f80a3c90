"""Live trades of real exchanges through ccxt.pro: one independent feed per exchange.

What ccxt does not do by itself is done here: its caches are drained completely on every wake-up, because it reports
one symbol at a time; a malformed message is dropped instead of ending the receive loop; a feed without trades is
stale, not quiet, and is connected anew; repeated trades are dropped; one exchange's failure is nobody else's.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from market_ingest.columns import Instrument
from market_ingest.config import ExchangeSettings, LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.chunk import Chunk
from market_ingest.sources.inbox import MALFORMED, Inbox
from tocsin_common.bus.consume import backoff_s
from tocsin_common.errors import ConfigError, TocsinError
from tocsin_common.events import FeedChanged, FeedState, TradesReceived

log = structlog.get_logger()

TRADES_LIMIT = 20_000
"""Trades ccxt keeps per symbol. Its 1,000 lose bursts, because what is not collected in time falls out."""

KEEP_ALIVE_MS = 5_000
"""How often ccxt pings; two missing answers end a connection. (Its default for Binance is three minutes.)"""

SYMBOLS_PER_CALL = 200
"""Most symbols of one subscription (Binance refuses more)."""

IDLE_S = 0.25
"""A chunk comes at least this often, so that the clock closes candles while nobody trades."""

MAX_REASON_CHARS = 200


class FeedLost(TocsinError):
    """A feed has to be connected anew; `state` says how it was lost."""

    def __init__(self, state: FeedState, reason: str) -> None:
        self.state: FeedState = state
        super().__init__(reason)


class LiveSource:
    """Implements `Source`: the trades of several exchanges as they happen."""

    source_id = "live"
    live = True

    def __init__(self, settings: LiveSettings, metrics: IngestMetrics) -> None:
        self.instruments: Sequence[Instrument] = [
            Instrument(exchange, symbol) for exchange, one in settings.exchanges.items() for symbol in one.symbols
        ]
        self._settings = settings
        self._metrics = metrics
        self._inbox = Inbox(self.instruments)
        self._feeds: dict[str, Feed] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """Recognise trades that are on the stream already."""
        self._inbox.remember(stored)

    async def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        """What arrived together, for ever. Raises ConfigError for an exchange ccxt does not have."""
        await self._start()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._inbox.arrived.wait(), IDLE_S)
                await asyncio.sleep(self._settings.flush_ms / 1000)
            chunk = self._inbox.empty(_now_ms())
            for rows in chunk.trades:
                delay_s = (chunk.clock_ms - int(rows.trades.ts_ms[-1])) / 1000
                self._metrics.delay.labels(rows.instrument.exchange).observe(max(0.0, delay_s))
            yield chunk

    async def close(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def problem(self) -> str | None:
        """Which exchanges send nothing at the moment."""
        lost = sorted(name for name, feed in self._feeds.items() if not feed.connected)
        return f"no trades from {', '.join(lost)}" if lost else None

    async def _start(self) -> None:
        ccxt = await asyncio.to_thread(importlib.import_module, "ccxt.pro")
        unknown = [name for name in self._settings.exchanges if name not in ccxt.exchanges]
        if unknown:
            raise ConfigError(
                [f"market_ingest.source.exchanges.{name}: not an exchange of ccxt.pro." for name in unknown]
            )
        for name, settings in self._settings.exchanges.items():
            exchange = getattr(ccxt, name)(_options(settings))
            feed = Feed(name, settings, exchange, self._inbox, self._settings.stale_after_s)
            self._feeds[name] = feed
            self._tasks.append(asyncio.create_task(feed.run(), name=f"feed {name}"))


class Feed:
    """The connection to one exchange: collects trades, and connects anew whenever it is lost."""

    def __init__(
        self, name: str, settings: ExchangeSettings, exchange: Any, inbox: Inbox, stale_after_s: float
    ) -> None:
        self.connected = False
        self._name = name
        self._settings = settings
        self._exchange = exchange
        self._parse = exchange.handle_message
        exchange.handle_message = self._parse_safely
        self._inbox = inbox
        self._stale_after_s = stale_after_s
        self._heard_s = 0.0
        self._attempt = 0
        self._newest: dict[str, Any] = {}
        self._unlisted: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._watch()
                except Exception as error:
                    self._lost(_first(error))
                await self._exchange.close()
                self._attempt += 1
                await asyncio.sleep(backoff_s(self._attempt))
        finally:
            await self._exchange.close()

    async def _watch(self) -> None:
        """Collect trades until the feed is lost. Raises what ended it."""
        await self._exchange.load_markets()
        self._heard_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for symbols in self._subscriptions():
                group.create_task(self._collect(symbols))
            group.create_task(self._notice_staleness())

    def _subscriptions(self) -> list[list[str]]:
        """The symbols of each subscription."""
        listed = [symbol for symbol in self._settings.symbols if symbol in self._exchange.markets]
        for symbol in sorted(set(self._settings.symbols) - set(listed) - self._unlisted):
            self._unlisted.add(symbol)
            log.error("the exchange does not list this symbol", exchange=self._name, symbol=symbol)
        if not listed:
            raise FeedLost("disconnected", "none of the configured symbols is listed")
        if self._exchange.has.get("watchTradesForSymbols"):
            return [listed[at : at + SYMBOLS_PER_CALL] for at in range(0, len(listed), SYMBOLS_PER_CALL)]
        if self._exchange.has.get("watchTrades"):
            return [[symbol] for symbol in listed]
        raise FeedLost("disconnected", "ccxt.pro has no trade stream of this exchange")

    def _parse_safely(self, client: Any, message: Any) -> None:
        """What ccxt calls with every message: an error in it would end its receive loop without a word."""
        try:
            self._parse(client, message)
        except Exception as error:
            log.warning("malformed message", exchange=self._name, error=_in_words(error))
            self._inbox.reject(MALFORMED)

    async def _collect(self, symbols: list[str]) -> None:
        together = self._exchange.has.get("watchTradesForSymbols")
        while True:
            if together:
                await self._exchange.watch_trades_for_symbols(symbols)
            else:
                await self._exchange.watch_trades(symbols[0])
            for symbol in symbols:
                rows = self._uncollected(symbol)
                if rows:
                    self._heard(rows)

    def _uncollected(self, symbol: str) -> list[Any]:
        """Trades in ccxt's cache after the last one collected, oldest first."""
        cache = self._exchange.trades.get(symbol) or ()
        newest = self._newest.get(symbol)
        rows: list[Any] = []
        for row in reversed(cache):
            if row is newest:
                break
            rows.append(row)
        else:
            if newest is not None and len(rows) >= TRADES_LIMIT:
                self._inbox.interrupt(self._name)
        if rows:
            self._newest[symbol] = rows[0]
        rows.reverse()
        return rows

    def _heard(self, rows: list[Any]) -> None:
        self._heard_s = time.monotonic()
        self._attempt = 0
        if not self.connected:
            self.connected = True
            self._inbox.announce(self._change("connected", ""))
            log.info("feed connected", exchange=self._name)
        self._inbox.put(self._name, rows)

    async def _notice_staleness(self) -> None:
        while True:
            quiet_s = time.monotonic() - self._heard_s
            if quiet_s >= self._stale_after_s:
                raise FeedLost("stale", f"no trade for {self._stale_after_s:g} s")
            await asyncio.sleep(self._stale_after_s - quiet_s)

    def _lost(self, error: BaseException) -> None:
        reason = str(error) if isinstance(error, FeedLost) else _in_words(error)
        log.warning("feed lost", exchange=self._name, reason=reason, attempt=self._attempt + 1)
        if self.connected or self._attempt == 0:
            self._inbox.announce(self._change(error.state if isinstance(error, FeedLost) else "disconnected", reason))
        self.connected = False

    def _change(self, state: FeedState, reason: str) -> FeedChanged:
        return FeedChanged(exchange=self._name, symbol=None, state=state, ts_ms=_now_ms(), reason=reason)


def _options(settings: ExchangeSettings) -> dict[str, Any]:
    """Constructor options of ccxt: ours, overridden by the configured ones."""
    ours = {
        "enableRateLimit": True,
        "streaming": {"keepAlive": KEEP_ALIVE_MS},
        "options": {"tradesLimit": TRADES_LIMIT},
    }
    return _merged(ours, settings.options)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


def _in_words(error: BaseException) -> str:
    """Kind and message on one line, without addresses: configured ones may hold credentials."""
    message = re.sub(r"\w+://\S+", "(address)", " ".join(str(error).split()))
    return f"{type(error).__name__}: {message}"[:MAX_REASON_CHARS]


def _first(error: Exception) -> BaseException:
    """The first error of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
