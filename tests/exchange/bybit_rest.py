"""Bybit's `/v5/market`: bodies, limits and errors as the venue documents them
(https://bybit-exchange.github.io/docs/v5/market/instrument and its neighbours)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from tests.exchange.ledger import Tally
from tests.exchange.market import Market, plain
from tests.exchange.server import Exchange

SPOT_TRADES_MAX, KLINES_USUAL, KLINES_MAX = 60, 200, 1000
INTERVALS = {
    **{str(minutes): f"{minutes}m" for minutes in (1, 3, 5, 15, 30)},
    **{str(hours * 60): f"{hours}h" for hours in (1, 2, 4, 6, 12)},
    "D": "1d",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProblemError(Exception):
    """What the venue answers with `retCode`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class BybitRest:
    """The HTTP side of Bybit, spot. Lists are newest first."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def add_routes(self, app: web.Application) -> None:
        routes: dict[str, Callable[[web.Request], dict[str, Any]]] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "recent-trade": self._trades,
            "kline": self._klines,
            "tickers": self._tickers,
        }
        for path, answer in routes.items():
            app.router.add_get(f"/v5/market/{path}", self._answering(answer))

    def _answering(self, answer: Callable[[web.Request], dict[str, Any]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            code, message, result = 0, "OK", {}
            try:
                result = answer(request)
            except ProblemError as problem:
                code, message = problem.code, problem.message
            body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}}
            return web.json_response({**body, "time": self._exchange.now_ms})

        return handle

    def _time(self, _request: web.Request) -> dict[str, Any]:
        now_ms = self._exchange.now_ms
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def _instruments(self, _request: web.Request) -> dict[str, Any]:
        listed = [
            _instrument(number, market_id, market)
            for number, (market_id, market) in enumerate(self._exchange.by_id.items(), 1)
            if market.live
        ]
        return {"category": "spot", "list": listed}

    def _trades(self, request: web.Request) -> dict[str, Any]:
        market_id, market = self._market(request)
        limit = min(_integer(request, "limit") or SPOT_TRADES_MAX, SPOT_TRADES_MAX)
        told = [
            {
                "execId": trade.id,
                "symbol": market_id,
                "price": plain(trade.price),
                "size": plain(trade.amount),
                "side": trade.side.capitalize(),
                "time": str(trade.ts_ms),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(trade.number),
            }
            for trade in reversed(self._exchange.history(market.symbol)[-limit:])
        ]
        return {"category": "spot", "list": told}

    def _klines(self, request: web.Request) -> dict[str, Any]:
        market_id, market = self._market(request)
        timeframe = INTERVALS.get(request.query.get("interval", ""))
        if timeframe is None:
            raise ProblemError(10001, "Invalid period!")
        start_ms, end_ms = _integer(request, "start"), _integer(request, "end")
        now_ms = self._exchange.now_ms
        until_ms = now_ms if end_ms is None else min(end_ms, now_ms)
        candles = self._exchange.ledger.candles(market.symbol, timeframe, until_ms)
        limit = min(_integer(request, "limit") or KLINES_USUAL, KLINES_MAX)
        if start_ms is not None:
            candles = [candle for candle in candles if candle.open_ms >= start_ms][:limit]
        told = [
            [
                str(candle.open_ms),
                *map(plain, (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume)),
            ]
            for candle in reversed(candles[-limit:])
        ]
        return {"category": "spot", "symbol": market_id, "list": told}

    def _tickers(self, request: web.Request) -> dict[str, Any]:
        by_id = self._exchange.by_id
        wanted = dict([self._market(request)]) if "symbol" in request.query else by_id
        told = [
            ticker(market_id, market, self._exchange.ledger.tally(market.symbol))
            for market_id, market in wanted.items()
            if market.live
        ]
        return {"category": "spot", "list": told}

    def _market(self, request: web.Request) -> tuple[str, Market]:
        market_id = request.query.get("symbol", "")
        if market_id not in self._exchange.by_id:
            raise ProblemError(10001, "Not supported symbols")
        return market_id, self._exchange.by_id[market_id]


def _integer(request: web.Request, name: str) -> int | None:
    try:
        return int(request.query[name]) if name in request.query else None
    except ValueError:
        raise ProblemError(10001, f"params error: {name} invalid") from None


def ticker(market_id: str, market: Market, tally: Tally) -> dict[str, str]:
    """A market's ticker as HTTP tells it."""
    change = tally.last / tally.open - 1 if tally.open else tally.open
    return {
        "symbol": market_id,
        "bid1Price": plain(tally.last),
        "bid1Size": "1",
        "ask1Price": plain(tally.last + market.tick),
        "ask1Size": "1",
        "lastPrice": plain(tally.last),
        "prevPrice24h": plain(tally.open),
        "price24hPcnt": f"{change:.4f}",
        "highPrice24h": plain(tally.high),
        "lowPrice24h": plain(tally.low),
        "turnover24h": plain(tally.quote_volume),
        "volume24h": plain(tally.volume),
        "usdIndexPrice": plain(tally.last),
    }


def _instrument(number: int, market_id: str, market: Market) -> dict[str, Any]:
    return {
        "symbolId": number,
        "symbol": market_id,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Trading",
        "marginTrading": "utaOnly",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": plain(market.step),
            "quotePrecision": "0.0000001",
            "minOrderQty": plain(market.step),
            "maxOrderQty": "230",
            "minOrderAmt": "5",
            "maxOrderAmt": "8000000",
            "maxLimitOrderQty": "230",
            "maxMarketOrderQty": "120",
            "postOnlyMaxLimitOrderSize": "1150",
        },
        "priceFilter": {"tickSize": plain(market.tick)},
        "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
        "symbolType": "",
        "xstockMultiplier": "1",
    }
