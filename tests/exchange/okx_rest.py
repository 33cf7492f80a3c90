"""OKX's `/api/v5`: bodies, page sizes and errors as the venue documents them (https://www.okx.com/docs-v5/en/)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from tests.exchange.ledger import TIMEFRAMES_MS, Candle, Tally, Trade, before_number, between, from_number
from tests.exchange.market import Market, plain
from tests.exchange.server import Exchange

TRADES_MAX, HISTORY_TRADES_MAX, CANDLES_MAX = 500, 100, 300
RECENT_CANDLES = 1440
"""So many are served by `candles`; older ones by `history-candles` only."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def bar_of(timeframe: str) -> str:
    """OKX's name of a timeframe, opening at UTC midnight: 1m, 4H, 1Dutc."""
    if timeframe[-1] in "sm":
        return timeframe
    return timeframe.upper() + ("utc" if TIMEFRAMES_MS[timeframe] >= TIMEFRAMES_MS["6h"] else "")


TIMEFRAMES = {bar_of(timeframe): timeframe for timeframe in TIMEFRAMES_MS}


class ProblemError(Exception):
    """What the venue answers: its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message, "data": []}


class OkxRest:
    """The HTTP side of OKX. Lists are newest first; in `after` and `before` the bound itself is left out."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def add_routes(self, app: web.Application) -> None:
        routes: dict[str, Callable[[web.Request], Sequence[Any]]] = {
            "public/time": lambda _: [{"ts": str(self._exchange.now_ms)}],
            "public/instruments": self._instruments,
            "market/trades": self._trades,
            "market/history-trades": self._history_trades,
            "market/candles": self._candles,
            "market/history-candles": self._history_candles,
            "market/tickers": self._tickers,
            "market/ticker": lambda request: [self._ticker(self._market(request))],
        }
        for path, answer in routes.items():
            app.router.add_get(f"/api/v5/{path}", _answering(answer))

    def _instruments(self, _request: web.Request) -> list[dict[str, Any]]:
        return [_instrument(market_id, market) for market_id, market in self._exchange.by_id.items()]

    def _trades(self, request: web.Request) -> list[dict[str, Any]]:
        market = self._market(request)
        trades = self._exchange.history(market.symbol)[-_limit(request, 100, TRADES_MAX) :]
        return self._told(market, trades)

    def _history_trades(self, request: web.Request) -> list[dict[str, Any]]:
        market = self._market(request)
        trades, limit = self._exchange.history(market.symbol), _limit(request, 100, HISTORY_TRADES_MAX)
        after, before = _integer(request, "after"), _integer(request, "before")
        if request.query.get("type", "1") == "2":
            trades = trades if after is None else between(trades, None, after - 1)
        else:
            trades = trades if after is None else before_number(trades, after)
            trades = trades if before is None else from_number(trades, before + 1)
        return self._told(market, trades[-limit:])

    def _told(self, market: Market, trades: Sequence[Trade]) -> list[dict[str, Any]]:
        market_id = self._exchange.market_id(market)
        return [_trade(market_id, trade) for trade in reversed(trades)]

    def _candles(self, request: web.Request) -> list[list[str]]:
        return self._klines(request, self._all_candles(request)[-RECENT_CANDLES:])

    def _history_candles(self, request: web.Request) -> list[list[str]]:
        return self._klines(request, self._all_candles(request)[:-1])

    def _all_candles(self, request: web.Request) -> list[Candle]:
        timeframe = TIMEFRAMES.get(request.query.get("bar", "1m"))
        if timeframe is None:
            raise ProblemError("51000", "Parameter bar error")
        return self._exchange.ledger.candles(self._market(request).symbol, timeframe, self._exchange.now_ms)

    def _klines(self, request: web.Request, candles: Sequence[Candle]) -> list[list[str]]:
        after, before = _integer(request, "after"), _integer(request, "before")
        width_ms = TIMEFRAMES_MS[TIMEFRAMES[request.query.get("bar", "1m")]]
        wanted = [
            candle
            for candle in candles
            if (after is None or candle.open_ms < after) and (before is None or candle.open_ms > before)
        ]
        now_ms = self._exchange.now_ms
        limited = wanted[-_limit(request, 100, CANDLES_MAX) :]
        return [kline(candle, closed=candle.open_ms + width_ms <= now_ms) for candle in reversed(limited)]

    def _tickers(self, _request: web.Request) -> list[dict[str, str]]:
        markets = self._exchange.markets.values()
        return [self._ticker(market) for market in markets if market.live]

    def _ticker(self, market: Market) -> dict[str, str]:
        exchange = self._exchange
        return ticker(exchange.market_id(market), market, exchange.ledger.tally(market.symbol), exchange.now_ms)

    def _market(self, request: web.Request) -> Market:
        market = self._exchange.by_id.get(request.query.get("instId", ""))
        if market is None:
            raise ProblemError("51001", "Instrument ID does not exist")
        return market


def _answering(answer: Callable[[web.Request], Sequence[Any]]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response({"code": "0", "msg": "", "data": answer(request)})
        except ProblemError as problem:
            return web.json_response(problem.body)

    return handle


def _integer(request: web.Request, name: str) -> int | None:
    try:
        return int(request.query[name]) if name in request.query else None
    except ValueError:
        raise ProblemError("51000", f"Parameter {name} error") from None


def _limit(request: web.Request, usual: int, most: int) -> int:
    limit = _integer(request, "limit")
    return usual if limit is None else min(limit, most)


def ticker(market_id: str, market: Market, tally: Tally, now_ms: int) -> dict[str, str]:
    """A market's ticker, the same over HTTP and WebSocket."""
    return {
        "instType": "SPOT",
        "instId": market_id,
        "last": plain(tally.last),
        "lastSz": plain(tally.last_amount),
        "askPx": plain(tally.last + market.tick),
        "askSz": "1",
        "bidPx": plain(tally.last),
        "bidSz": "1",
        "open24h": plain(tally.open),
        "high24h": plain(tally.high),
        "low24h": plain(tally.low),
        "sodUtc0": plain(tally.open),
        "sodUtc8": plain(tally.open),
        "volCcy24h": plain(tally.quote_volume),
        "vol24h": plain(tally.volume),
        "ts": str(now_ms),
    }


def kline(candle: Candle, *, closed: bool) -> list[str]:
    """A candle as OKX prints it; the last field says whether it is closed."""
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume)
    return [str(candle.open_ms), *map(plain, numbers), plain(candle.quote_volume), "1" if closed else "0"]


def _trade(market_id: str, trade: Trade) -> dict[str, Any]:
    return {
        "instId": market_id,
        "side": trade.side,
        "sz": plain(trade.amount),
        "source": "0",
        "px": plain(trade.price),
        "tradeId": trade.id,
        "ts": str(trade.ts_ms),
        "seqId": trade.number,
    }


def _instrument(market_id: str, market: Market) -> dict[str, Any]:
    unused = ("alias", "ctMult", "ctType", "ctVal", "ctValCcy", "expTime", "optType", "settleCcy", "stk", "uly")
    most = ("maxIcebergSz", "maxLmtSz", "maxTriggerSz", "maxTwapSz")
    return {
        **dict.fromkeys(unused, ""),
        **dict.fromkeys(most, "9999999999"),
        "baseCcy": market.base,
        "category": "1",
        "instId": market_id,
        "instType": "SPOT",
        "lever": "10",
        "listTime": "1548133413000",
        "lotSz": plain(market.step),
        "maxMktSz": "1000000",
        "maxStopSz": "1000000",
        "minSz": plain(market.step),
        "quoteCcy": market.quote,
        "state": "live" if market.live else "suspend",
        "tickSz": plain(market.tick),
    }
