"""One exchange: its markets, connections, lines and repairs. Another exchange's trouble is not its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from market_ingest.columns import Instrument
from market_ingest.config import ExchangeSettings, LiveSettings, is_pattern
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.live.backfill import Backfill
from market_ingest.sources.live.connection import Connection
from market_ingest.sources.live.exchange import in_words, open_exchange, spare_what_nobody_reads
from market_ingest.sources.live.freshness import Freshness
from market_ingest.sources.live.inbox import Inbox
from market_ingest.sources.live.lines import Lines
from market_ingest.sources.live.markets import quote_volumes, select
from market_ingest.sources.live.repair import Continuity, Position
from market_ingest.sources.live.repairs import Repairs
from market_ingest.sources.live.rows import row_of
from market_ingest.sources.live.venues import Venue, venue_of
from tocsin_common.bus.consume import backoff_s
from tocsin_common.events import FeedChanged, FeedState, TradesReceived

log = structlog.get_logger()

HEARD_S = 1.0
"""A connection heard within this is alive: less than the usual grace, so that a candle closed by the clock has had a
sign of life after its end."""

UNKNOWN_SYMBOL = "unknown_symbol"


class Feed:
    """The feed of one exchange. `stored` gives, per instrument, its last trades on the stream."""

    def __init__(
        self, name: str, settings: ExchangeSettings, live: LiveSettings, inbox: Inbox, metrics: IngestMetrics
    ) -> None:
        self.name = name
        self.rest = open_exchange(name, settings)
        self.lines = Lines(name, inbox, metrics, self._heard)
        self.connections: dict[Connection, asyncio.Task[None]] = {}
        self.owns: Callable[[Instrument], bool] = lambda _: True
        self._settings = settings
        self._live = live
        self._inbox = inbox
        self._metrics = metrics
        self._delay = metrics.delay.labels(name)
        self._venues: dict[str, Venue] = {}
        self._freshness = Freshness(live.stale_after_s)
        self._by_symbol: dict[str, Connection] = {}
        self._repairs = Repairs(self, Backfill(self.rest, metrics), live.repair_s)
        self._listed: list[str] = []
        self._wanted: set[str] = set()
        self._doubted: set[Connection] = set()
        self._was_heard: dict[Connection, bool] = {}
        self._problem: str | None = "not connected yet"

    @property
    def symbols(self) -> list[str]:
        """What is watched at the moment."""
        return list(self.lines.by_symbol)

    @property
    def problem(self) -> str | None:
        """Why nothing comes from a part of this exchange, or None."""
        lost = [connection for connection in self.connections if not connection.alive]
        return self._problem or (f"{len(lost)} of {len(self.connections)} connections are lost" if lost else None)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_markets())
                group.create_task(self._repairs.run())
        finally:
            for task in self.connections.values():
                task.cancel()
            await asyncio.gather(*self.connections.values(), return_exceptions=True)
            await self.rest.close()

    def begin(self, symbols: Sequence[str], stored: Mapping[Instrument, Sequence[TradesReceived]]) -> None:
        """Watch these from now on, going on after what is stored."""
        by_venue: dict[Venue, list[str]] = {}
        for symbol in (one for one in symbols if one in self._wanted):
            venue = self._venues[symbol] = venue_of(self.name, self.rest.market(symbol))
            by_venue.setdefault(venue, []).append(symbol)
            self.lines.begin(symbol, _continuity(venue, stored.get(Instrument(self.name, symbol), ())))
            self._freshness.begin(symbol, time.monotonic())
        for venue, some in by_venue.items():
            for at in range(0, len(some), venue.symbols_per_connection):
                self._connect(venue, some[at : at + venue.symbols_per_connection])

    def collect(self) -> None:
        """Take what has arrived, and look who is silent."""
        for connection in self.connections:
            if connection.paused:
                self._doubt_a_pause(connection)
            self._drain(connection)
        for connection in self.connections:
            self._doubt_the_silent(connection)
            heard = self._alive(connection)
            if heard is not self._was_heard.get(connection):
                self._was_heard[connection] = heard
                self.lines.judge(connection.symbols)
        now_s = time.monotonic()
        silence_s = max((now_s - one.heard_s for one in self.connections if one.heard_s), default=0.0)
        self._metrics.silence.labels(self.name).set(silence_s)
        self.lines.interrupt((one for one in self._freshness.overdue(now_s) if self._heard(one)), "silent")

    def _doubt_a_pause(self, connection: Connection) -> None:
        """What was sent in an unusual pause may be lost. The next id proves of most symbols that nothing is; of those
        that do not trade soon REST says so, before their candles close. Without consecutive ids every symbol would have
        to be asked for, and a hole be announced where REST does not reach back."""
        connection.paused = False
        contiguous = (one for one in connection.symbols if self._venues[one].ids == "contiguous")
        self.lines.interrupt(contiguous, "paused")

    def _doubt_the_silent(self, connection: Connection) -> None:
        """A connection that did not answer may go on as if nothing had happened."""
        if not connection.missed_a_ping:
            self._doubted.discard(connection)
        elif connection not in self._doubted:
            self._doubted.add(connection)
            self.lines.interrupt(connection.symbols, "silent")

    def connection(self, symbol: str) -> Connection | None:
        """The connection that should bring a symbol's trades, if it is alive."""
        connection = self._by_symbol.get(symbol)
        return connection if connection is not None and connection.alive else None

    def drain(self, symbol: str) -> None:
        """Take what has arrived for a symbol, and with it."""
        connection = self._by_symbol.get(symbol)
        if connection is not None:
            self._drain(connection)

    def _drain(self, connection: Connection) -> None:
        now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
        for symbol, received_ms, trades in connection.collect():
            if symbol not in self.lines.by_symbol:
                self._inbox.count(rejected=[UNKNOWN_SYMBOL] * len(trades))
                continue
            venue = self._venues[symbol]
            rows = [row_of(trade, venue, received_ms, live=True) for trade in trades]
            self._freshness.heard(symbol, len(rows), now_s)
            self._delay.observe(max(0.0, (now_ms - rows[-1].ts_ms) / 1000))
            self.lines.live(symbol, rows)

    def _heard(self, symbol: str) -> bool:
        connection = self._by_symbol.get(symbol)
        return connection is not None and self._alive(connection)

    def _alive(self, connection: Connection) -> bool:
        return connection.alive and time.monotonic() - connection.heard_s <= HEARD_S

    # What connections tell.

    def arrived(self) -> None:
        self._inbox.arrived.set()

    def connected(self, connection: Connection) -> None:
        self._metrics.reconnects.labels(self.name).inc()
        for symbol in connection.symbols:
            self._freshness.begin(symbol, time.monotonic())
        self._announce("connected", f"{len(connection.symbols)} symbols")

    def lost(self, connection: Connection, state: FeedState, reason: str) -> None:
        self._drain(connection)
        self.lines.interrupt(connection.symbols, state)
        self._announce(state, reason)

    def in_doubt(self, connection: Connection, reason: str, detail: str) -> None:
        self._drain(connection)
        log.warning("trades may be lost", exchange=self.name, reason=reason, detail=detail)
        self._inbox.count(rejected=[reason])
        self.lines.interrupt(connection.symbols, reason)

    # Markets.

    async def _follow_markets(self) -> None:
        attempt = 0
        while True:
            try:
                await self._select()
            except Exception as error:
                attempt += 1
                if attempt == 1:
                    self._announce("disconnected", in_words(error))
                self._problem = None if self.connections else f"markets: {in_words(error)}"
                await asyncio.sleep(backoff_s(attempt))
            else:
                attempt, self._problem = 0, None
                await asyncio.sleep(self._live.refresh_s)

    async def _select(self) -> None:
        """Ask what is listed, begin with what is new and let go what is gone."""
        markets = await self.rest.load_markets(True)
        tickers = await self.rest.fetch_tickers() if self._settings.top is not None else {}
        wanted = select(self._settings, markets, quote_volumes(tickers))
        for symbol in sorted(self._wanted - set(wanted)):
            self._let_go(symbol, "delisted" if _is_gone(markets.get(symbol)) else "no longer among the largest")
        for symbol in sorted({one for one in self._settings.symbols if not is_pattern(one)} - set(wanted)):
            log.error("the exchange does not list this symbol", exchange=self.name, symbol=symbol)
        self._listed = wanted
        self._wanted.intersection_update(wanted)
        self.follow_shares()

    def follow_shares(self) -> None:
        """Begin with what is listed and ours, and leave to others what is theirs now."""
        ours = [one for one in self._listed if self.owns(Instrument(self.name, one))]
        for symbol in sorted(self._wanted.difference(ours)):
            self._disconnect(symbol)
            self.lines.drop(symbol)
        self._inbox.add(Instrument(self.name, one) for one in ours if one not in self._wanted)
        self._wanted = set(ours)

    def _let_go(self, symbol: str, reason: str) -> None:
        connection = self._by_symbol.get(symbol)
        if connection is None:
            return
        self._drain(connection)
        self._disconnect(symbol)
        self.lines.end(symbol)
        self._announce("disconnected", reason, symbol=symbol)

    def _disconnect(self, symbol: str) -> None:
        connection = self._by_symbol.pop(symbol, None)
        if connection is None:
            return
        self._freshness.end(symbol)
        connection.symbols.remove(symbol)
        if not connection.symbols:
            self.connections.pop(connection).cancel()

    def _connect(self, venue: Venue, symbols: Sequence[str]) -> None:
        connection = Connection(self._open, symbols, self, venue.read)
        self._by_symbol.update(dict.fromkeys(symbols, connection))
        self.connections[connection] = asyncio.create_task(connection.run(), name=f"{self.name} {len(symbols)} symbols")

    def _open(self) -> Any:
        """A ccxt instance of its own for one connection; the markets are those of this feed."""
        exchange = open_exchange(self.name, self._settings)
        spare_what_nobody_reads(exchange)
        exchange.set_markets_from_exchange(self.rest)
        exchange.open()  # some clients start tasks before their first request, which would do this
        return exchange

    def _announce(self, state: FeedState, reason: str, symbol: str | None = None) -> None:
        log.log(20 if state == "connected" else 30, f"feed {state}", exchange=self.name, symbol=symbol, reason=reason)
        self._metrics.feed_changes.labels(self.name, state).inc()
        now_ms = time.time_ns() // 1_000_000
        self._inbox.announce(FeedChanged(exchange=self.name, symbol=symbol, state=state, ts_ms=now_ms, reason=reason))


def _is_gone(market: Mapping[str, Any] | None) -> bool:
    return market is None or market.get("active") is False


def _continuity(venue: Venue, stored: Iterable[TradesReceived]) -> Continuity:
    """A line that goes on after what is stored, oldest first."""
    last: Position | None = None
    known: list[str] = []
    for batch in stored:
        known += [name for name in batch.trade_id if name is not None]
        name, ts_ms = batch.trade_id[-1], batch.ts_ms[-1]
        if venue.ids == "opaque":
            last = Position(ts_ms, ts_ms, name)
        elif name is not None and name.isascii() and name.isdigit():
            last = Position(int(name), ts_ms, name)
    return Continuity(venue.ids, last, known)
