"""What is known of each exchange's trades: a declared table, read by gap repair and by docs/exchanges.md.

Every fact names its source: `ccxt` is the file of that exchange in ccxt, `docs` the exchange's own documentation.
An exchange that is not in the table is treated carefully: its ids only tell trades apart, and what its REST answer
does not reach is announced as lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from market_ingest.sources.live import frames

Ids = Literal["contiguous", "increasing", "opaque"]
"""contiguous: numbers, +1 per trade of a symbol. increasing: numbers. opaque: equal or not; the order is by time."""

Paging = Literal["from_id", "before_id", "recent", "since"]
"""How REST gives the past: forward from an id, backward before an id, the newest trades only, forward from a time."""


@dataclass(frozen=True, slots=True)
class Venue:
    """One kind of market of an exchange.

    `method`: what is called in ccxt, `page`: most trades of an answer, `cost`: what a call costs in units of ccxt's
    rate limiter (which counts the cheapest call as 1). `counts`: a live trade may stand for several of those REST
    gives, its `count` says for how many up to its own. `recent` by another method than fetch_trades: `query` is what it
    wants besides symbol and limit, `within` where in its answer the trades are, newest first if `newest_first`. `read`:
    what reads the frames of which there is one per trade.
    """

    ids: Ids
    paging: Paging
    page: int
    symbols_per_connection: int
    method: str = "fetch_trades"
    cost: float = 1.0
    counts: bool = False
    query: tuple[tuple[str, str], ...] = ()
    within: tuple[str, ...] = ()
    newest_first: bool = False
    read: frames.Reader | None = None


_CAREFUL = Venue("opaque", "since", page=1000, symbols_per_connection=50)


def _binance(paging: Paging, method: str, cost: float = 1.0) -> Venue:
    return Venue("contiguous", paging, 1000, 200, method, cost, read=frames.binance)


def _bybit(category: str, page: int, symbols_per_connection: int) -> Venue:
    return Venue(
        "opaque",
        "recent",
        page,
        symbols_per_connection,
        "publicGetV5MarketRecentTrade",
        query=(("category", category),),
        within=("result", "list"),
        newest_first=True,
    )


_VENUES: dict[tuple[str, str], Venue] = {
    # ids: recorded sessions, consecutive per symbol. 200 symbols: ccxt pro/binance.py. Page 1000 and weight 25 (of
    # 6000 a minute; ccxt's unit is 50 ms): docs, "Old trade lookup". It needs no key, although ccxt asks for one.
    ("binance", "spot"): _binance("from_id", "historicalTrades", cost=5.0),
    ("binanceus", "spot"): _binance("from_id", "historicalTrades", cost=5.0),
    # Derivatives: looking up old trades needs a key, the newest 1000 do not (docs, "Recent Trades List").
    ("binance", "linear"): _binance("recent", "fapiPublicGetTrades"),
    ("binance", "inverse"): _binance("recent", "dapiPublicGetTrades"),
    ("binanceusdm", "linear"): _binance("recent", "fapiPublicGetTrades"),
    ("binancecoinm", "inverse"): _binance("recent", "dapiPublicGetTrades"),
    # `trades` sums what one order took at one price: `count` trades up to `tradeId` (docs, "Trades channel"). History
    # goes back three months in pages of 100 (docs, "Get trades history").
    ("okx", "spot"): Venue("increasing", "before_id", 100, 100, "publicGetMarketHistoryTrades", counts=True),
    ("okx", "linear"): Venue("increasing", "before_id", 100, 100, "publicGetMarketHistoryTrades", counts=True),
    ("okx", "inverse"): Venue("increasing", "before_id", 100, 100, "publicGetMarketHistoryTrades", counts=True),
    # UUIDs, on spot numbers with holes (recorded). The newest 60 trades of spot, 1000 of others, nothing before them
    # (ccxt bybit.py, fetch_trades; it sorts by time and id, which loses the order within a millisecond, so the answer
    # is read as it comes). Spot refuses requests for more than 10 topics (docs, "Connect"), and ccxt makes one request.
    ("bybit", "spot"): _bybit("spot", 60, 10),
    ("bybit", "linear"): _bybit("linear", 1000, 100),
    ("bybit", "inverse"): _bybit("inverse", 1000, 100),
    # ids: recorded, consecutive per product, and newest first within a message. ccxt wants an end with every beginning,
    # so the newest 1000 are asked for (ccxt coinbase.py, fetch_trades).
    ("coinbase", "spot"): Venue("contiguous", "recent", 1000, 50),
}


def venue_of(exchange: str, market: dict[str, object]) -> Venue:
    """What is known of a market, given as ccxt describes it."""
    kind = "spot" if market.get("spot") else "linear" if market.get("linear") else "inverse"
    return _VENUES.get((exchange, kind), _CAREFUL)


def declared() -> dict[tuple[str, str], Venue]:
    """The whole table, by exchange and kind of market."""
    return dict(_VENUES)
