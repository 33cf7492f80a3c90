"""Binance spot's `/api/v3`: bodies, limits, request weights and errors as the venue documents them
(https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web
from tests.exchange.ledger import TIMEFRAMES_MS, Candle, Trade, aggregated, between, from_number
from tests.exchange.market import Market
from tests.exchange.server import Exchange

LIMIT, LIMIT_MAX = 500, 1000
WEIGHT_MAX = 6000
MINUTE_MS = 60_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def fixed(number: Decimal) -> str:
    """A number with Binance's eight decimals."""
    return f"{number:.8f}"


class BadRequestError(Exception):
    """What the venue answers with 400: its code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


class BinanceRest:
    """The HTTP side of Binance. Answers count the weight of their requests, by the exchange's minute."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._minute, self._weight = 0, 0

    def add_routes(self, app: web.Application) -> None:
        routes: dict[str, tuple[int, Callable[[web.Request], Any]]] = {
            "ping": (1, lambda _: {}),
            "time": (1, lambda _: {"serverTime": self._exchange.now_ms}),
            "exchangeInfo": (20, self._exchange_info),
            "trades": (25, self._trades),
            "historicalTrades": (25, self._historical_trades),
            "aggTrades": (4, self._aggregates),
            "klines": (2, self._klines),
            "ticker/24hr": (2, self._tickers),
            "ticker/bookTicker": (2, self._quotes),
        }
        for path, (weight, answer) in routes.items():
            app.router.add_get(f"/api/v3/{path}", self._answering(weight, answer))

    def _answering(self, weight: int, answer: Callable[[web.Request], Any]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            headers = {"X-MBX-USED-WEIGHT-1M": str(self._weigh(weight))}
            try:
                return web.json_response(answer(request), headers=headers)
            except BadRequestError as error:
                return web.json_response(error.body, status=400, headers=headers)

        return handle

    def _weigh(self, weight: int) -> int:
        minute = self._exchange.now_ms // MINUTE_MS
        self._weight = weight if minute != self._minute else self._weight + weight
        self._minute = minute
        return self._weight

    def _exchange_info(self, _request: web.Request) -> dict[str, Any]:
        limits = [("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_MAX), ("RAW_REQUESTS", "MINUTE", 5, 61_000)]
        return {
            "timezone": "UTC",
            "serverTime": self._exchange.now_ms,
            "rateLimits": [
                {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
                for kind, interval, number, limit in limits
            ],
            "exchangeFilters": [],
            "symbols": [_market(market_id, market) for market_id, market in self._exchange.by_id.items()],
        }

    def _trades(self, request: web.Request) -> list[dict[str, Any]]:
        return [_trade(trade) for trade in self._history(request)[-_limit(request) :]]

    def _historical_trades(self, request: web.Request) -> list[dict[str, Any]]:
        history, limit = self._history(request), _limit(request)
        start = _integer(request, "fromId")
        rows = history[-limit:] if start is None else from_number(history, start)[:limit]
        return [_trade(trade) for trade in rows]

    def _aggregates(self, request: web.Request) -> list[dict[str, Any]]:
        limit, start = _limit(request), _integer(request, "fromId")
        from_ms, until_ms = _integer(request, "startTime"), _integer(request, "endTime")
        if start is not None and (from_ms, until_ms) != (None, None):
            raise BadRequestError(-1128, "Combination of optional parameters invalid.")
        if start is not None:
            groups = [group for group in aggregated(self._history(request)) if group[0].aggregate >= start][:limit]
        elif from_ms is not None or until_ms is not None:
            groups = aggregated(between(self._history(request), from_ms, until_ms))
            groups = groups[:limit] if from_ms is not None else groups[-limit:]
        else:
            groups = aggregated(self._history(request))[-limit:]
        return [_aggregate(group) for group in groups]

    def _klines(self, request: web.Request) -> list[list[Any]]:
        market, timeframe, limit = self._market(request), request.query.get("interval", ""), _limit(request)
        if timeframe not in TIMEFRAMES_MS:
            raise BadRequestError(-1120, "Invalid interval.")
        from_ms, until_ms = _integer(request, "startTime"), _integer(request, "endTime")
        now_ms = self._exchange.now_ms
        candles = self._exchange.ledger.candles(
            market.symbol, timeframe, now_ms if until_ms is None else min(until_ms, now_ms)
        )
        if from_ms is not None:
            candles = [candle for candle in candles if candle.open_ms >= from_ms][:limit]
        return [_kline(candle, TIMEFRAMES_MS[timeframe]) for candle in candles[-limit:]]

    def _tickers(self, request: web.Request) -> Any:
        return self._each(request, self._ticker)

    def _quotes(self, request: web.Request) -> Any:
        return self._each(request, self._quote)

    def _ticker(self, market_id: str, market: Market) -> dict[str, Any]:
        tally = self._exchange.ledger.tally(market.symbol)
        change = tally.last - tally.open
        return {
            "symbol": market_id,
            "priceChange": fixed(change),
            "priceChangePercent": f"{change / tally.open * 100 if tally.open else change:.3f}",
            "weightedAvgPrice": fixed(tally.quote_volume / tally.volume if tally.volume else tally.volume),
            "prevClosePrice": fixed(tally.open),
            "lastPrice": fixed(tally.last),
            "lastQty": fixed(tally.last_amount),
            "bidPrice": fixed(tally.last),
            "bidQty": "1.00000000",
            "askPrice": fixed(tally.last + market.tick),
            "askQty": "1.00000000",
            "openPrice": fixed(tally.open),
            "highPrice": fixed(tally.high),
            "lowPrice": fixed(tally.low),
            "volume": fixed(tally.volume),
            "quoteVolume": fixed(tally.quote_volume),
            "openTime": self._exchange.now_ms - 86_400_000,
            "closeTime": self._exchange.now_ms,
            "firstId": tally.first_number,
            "lastId": tally.last_number,
            "count": tally.count,
        }

    def _quote(self, market_id: str, market: Market) -> dict[str, Any]:
        fields = ("symbol", "bidPrice", "bidQty", "askPrice", "askQty")
        ticker = self._ticker(market_id, market)
        return {field: ticker[field] for field in fields}

    def _each(self, request: web.Request, one: Callable[[str, Market], dict[str, Any]]) -> Any:
        """The answer for `symbol`, for `symbols`, or for all there are."""
        if "symbol" in request.query:
            return one(request.query["symbol"], self._market(request))
        by_id = self._exchange.by_id
        try:
            wanted = json.loads(request.query["symbols"]) if "symbols" in request.query else list(by_id)
            return [one(market_id, by_id[market_id]) for market_id in wanted]
        except (KeyError, ValueError):
            raise BadRequestError(-1121, "Invalid symbol.") from None

    def _market(self, request: web.Request) -> Market:
        if "symbol" not in request.query:
            raise BadRequestError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        market = self._exchange.by_id.get(request.query["symbol"])
        if market is None:
            raise BadRequestError(-1121, "Invalid symbol.")
        return market

    def _history(self, request: web.Request) -> Sequence[Trade]:
        return self._exchange.history(self._market(request).symbol)


def _integer(request: web.Request, name: str) -> int | None:
    try:
        return int(request.query[name]) if name in request.query else None
    except ValueError:
        raise BadRequestError(-1100, f"Illegal characters found in parameter '{name}'.") from None


def _limit(request: web.Request) -> int:
    limit = _integer(request, "limit")
    return LIMIT if limit is None else min(limit, LIMIT_MAX)


def _trade(trade: Trade) -> dict[str, Any]:
    return {
        "id": trade.number,
        "price": fixed(trade.price),
        "qty": fixed(trade.amount),
        "quoteQty": fixed(trade.price * trade.amount),
        "time": trade.ts_ms,
        "isBuyerMaker": trade.side == "sell",
        "isBestMatch": True,
    }


def _aggregate(trades: Sequence[Trade]) -> dict[str, Any]:
    first, last = trades[0], trades[-1]
    return {
        "a": first.aggregate,
        "p": fixed(first.price),
        "q": fixed(sum((trade.amount for trade in trades), Decimal(0))),
        "f": first.number,
        "l": last.number,
        "T": first.ts_ms,
        "m": first.side == "sell",
        "M": True,
    }


def _kline(candle: Candle, width_ms: int) -> list[Any]:
    prices = [fixed(price) for price in (candle.open, candle.high, candle.low, candle.close)]
    return [
        candle.open_ms,
        *prices,
        fixed(candle.volume),
        candle.open_ms + width_ms - 1,
        fixed(candle.quote_volume),
        candle.trades,
        fixed(candle.taker_volume),
        fixed(candle.taker_quote_volume),
        "0",
    ]


def _market(market_id: str, market: Market) -> dict[str, Any]:
    lot = {"minQty": fixed(market.step), "maxQty": "9000.00000000", "stepSize": fixed(market.step)}
    return {
        "symbol": market_id,
        "status": "TRADING" if market.live else "BREAK",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": fixed(market.tick),
                "maxPrice": "1000000.00000000",
                "tickSize": fixed(market.tick),
            },
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MIN_NOTIONAL", "minNotional": "10.00000000", "applyToMarket": True, "avgPriceMins": 5},
        ],
        "permissions": ["SPOT", "MARGIN"],
    }
