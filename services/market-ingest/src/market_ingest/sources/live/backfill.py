"""Trades of the past over REST: everything an exchange still has after a known trade.

All requests of an exchange go through one ccxt instance, so its rate limiter sees them all. When the exchange says it
is enough (429, 418) nobody asks again before the time it names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from market_ingest.metrics import IngestMetrics
from market_ingest.sources.live.repair import Position
from market_ingest.sources.live.rows import Row, row_of
from market_ingest.sources.live.venues import Venue, venue_of

MAX_ROWS = 50_000
"""Most trades fetched at a time where they come newest first and so have to be held until all are there."""

RETRY_AFTER_S = 5.0
"""How long to leave an exchange alone that refused without saying for how long."""

RETRY_AFTER_MAX_S = 600.0


class Fetched(NamedTuple):
    """A page of trades. `reaches_back`: nothing lies between the known trade and the first of these that REST does not
    have; `complete`: REST has nothing after these."""

    rows: list[Row]
    reaches_back: bool
    complete: bool = True


class Backfill:
    """REST of one exchange. `exchange` is a ccxt instance with loaded markets; others may use it too."""

    def __init__(self, exchange: Any, metrics: IngestMetrics) -> None:
        self._exchange = exchange
        self._metrics = metrics
        self._refused_until_s = 0.0

    async def after(self, symbol: str, last: Position) -> AsyncIterator[Fetched]:
        """All trades of a symbol after a known one, oldest first as far as the exchange can. Raises ccxt's errors."""
        venue = venue_of(self._exchange.id, self._exchange.market(symbol))
        pages = {
            "from_id": self._from_id,
            "before_id": self._before_id,
            "recent": self._recent,
            "since": self._since,
        }[venue.paging]
        async for page in pages(symbol, venue, last):
            yield page

    async def _from_id(self, symbol: str, venue: Venue, last: Position) -> AsyncIterator[Fetched]:
        """Forward, page by page. ccxt would ask for a key here that the exchange does not."""
        market, number = self._exchange.market(symbol), last.order + 1
        while True:
            query = {"symbol": market["id"], "fromId": number, "limit": venue.page}
            url = f"{self._exchange.urls['api']['public']}/{venue.method}?{self._exchange.urlencode(query)}"

            async def ask(url: str = url) -> Any:
                await self._exchange.throttle(venue.cost)
                return await self._exchange.fetch(url)

            answer = await self._asked(ask)
            rows = self._rows(self._exchange.parse_trades(answer, market), venue)
            complete = len(rows) < venue.page
            yield Fetched(rows, True, complete)
            if complete:
                return
            number = max(row.order for row in rows) + 1

    async def _before_id(self, symbol: str, venue: Venue, last: Position) -> AsyncIterator[Fetched]:
        """Backward from the newest until the known trade is reached."""
        found: list[Row] = await self._trades(symbol, venue, limit=500)
        page = found
        while page and min(row.order for row in page) > last.order + 1 and len(found) < MAX_ROWS:
            before = min(row.order for row in page)
            params = {"method": venue.method, "type": "1", "after": str(before)}
            page = [
                row for row in await self._trades(symbol, venue, limit=venue.page, params=params) if row.order < before
            ]
            found += page
        yield Fetched(found, _reaches(found, last, venue))

    async def _recent(self, symbol: str, venue: Venue, last: Position) -> AsyncIterator[Fetched]:
        """The newest trades are all there is."""
        if venue.method == "fetch_trades":
            rows = await self._trades(symbol, venue, limit=venue.page)
            yield Fetched(rows, _reaches(rows, last, venue))
            return
        market, call = self._exchange.market(symbol), getattr(self._exchange, venue.method)
        query = {"symbol": market["id"], "limit": venue.page, **dict(venue.query)}
        answer = await self._asked(lambda: call(query))
        for name in venue.within:
            answer = answer[name]
        ordered = reversed(answer) if venue.newest_first else answer
        rows = self._rows([self._exchange.parse_trade(trade, market) for trade in ordered], venue)
        yield Fetched(rows, _reaches(rows, last, venue))

    async def _since(self, symbol: str, venue: Venue, last: Position) -> AsyncIterator[Fetched]:
        """Forward from the time of the known trade; exchanges that cannot give their newest instead."""
        since_ms, reaches_back, seen = last.ts_ms, False, {last.trade_id}
        while True:
            rows = await self._trades(symbol, venue, limit=venue.page, since=since_ms)
            reaches_back = reaches_back or _reaches(rows, last, venue)
            fresh = [row for row in rows if row.trade_id not in seen]
            newest_ms = max((row.ts_ms for row in fresh), default=since_ms)
            complete = newest_ms <= since_ms
            yield Fetched(fresh, reaches_back, complete)
            if complete:
                return
            since_ms, seen = newest_ms, {row.trade_id for row in rows}
            reaches_back = True

    async def _trades(
        self,
        symbol: str,
        venue: Venue,
        *,
        limit: int,
        since: int | None = None,
        params: Mapping[str, str] | None = None,
    ) -> list[Row]:
        answer = await self._asked(lambda: self._exchange.fetch_trades(symbol, since, limit, dict(params or {})))
        return self._rows(answer, venue)

    def _rows(self, trades: Sequence[Mapping[str, Any]], venue: Venue) -> list[Row]:
        now_ms = time.time_ns() // 1_000_000
        return [row_of(trade, venue, now_ms, live=False) for trade in trades]

    async def _asked(self, ask: Any) -> Any:
        """One request, not before the exchange wants to hear from us again."""
        await asyncio.sleep(max(0.0, self._refused_until_s - time.monotonic()))
        name = self._exchange.id
        try:
            answer = await ask()
        except Exception as error:
            reason = type(error).__name__
            if reason in ("DDoSProtection", "RateLimitExceeded"):
                self._refused_until_s = time.monotonic() + self._retry_after_s()
            self._metrics.rest_requests.labels(name, reason).inc()
            raise
        self._metrics.rest_requests.labels(name, "ok").inc()
        weight = self._header("x-mbx-used-weight-1m")
        if weight.isdigit():
            self._metrics.rest_weight.labels(name).set(int(weight))
        return answer

    def _retry_after_s(self) -> float:
        """What the exchange said: seconds."""
        told = self._header("retry-after")
        return min(float(told), RETRY_AFTER_MAX_S) if told.isdigit() else RETRY_AFTER_S

    def _header(self, name: str) -> str:
        headers = self._exchange.last_response_headers or {}
        return next((str(value) for key, value in headers.items() if key.lower() == name), "")


def _reaches(rows: Sequence[Row], last: Position, venue: Venue) -> bool:
    """Whether fetched trades overlap with, or go on right after, the known one."""
    if not rows:
        return False
    if any(row.trade_id is not None and row.trade_id == last.trade_id for row in rows):
        return True
    first = min(row.order for row in rows)
    return first < last.order if venue.ids == "opaque" else first <= last.order + 1
