"""Binance spot: `wss://stream.binance.com` (raw and combined streams) and `/api/v3`.

ccxt tells spot from futures by `/stream` in the WebSocket URL, so the raw streams live at `/stream/ws/<number>`; the
combined ones, which wrap every frame in `{"stream", "data"}`, at `/stream` as on the venue.

`historicalTrades` answers without a key, as the venue does; ccxt's method of that name refuses to ask without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from aiohttp import web
from tests.exchange.binance_rest import BinanceRest, fixed
from tests.exchange.connection import Connection, Wording
from tests.exchange.ledger import TIMEFRAMES_MS, Trade, aggregated
from tests.exchange.market import Market
from tests.exchange.rest import Refusal
from tests.exchange.server import Exchange

REST_LEAVES = (
    *("sapi", "sapiV2", "sapiV3", "sapiV4", "dapiPublic", "dapiPrivate", "eapiPublic", "eapiPrivate", "dapiPrivateV2"),
    *("dapiData", "fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiPrivate", "fapiPrivateV2", "fapiPrivateV3"),
    *("fapiData", "public", "private", "v1", "papi", "papiV2"),
)
COMBINED = "+"
"""Before a topic: the subscriber gets it wrapped."""


class BinanceExchange(Exchange):
    """Binance spot. Ids are numbers, each the one before plus one, per symbol; aggregates are numbered the same way."""

    venue: ClassVar[str] = "binance"
    wording: ClassVar[Wording] = Wording(
        nan=lambda text: re.sub(r'"p":"[^"]*"', '"p":"NaN"', text),
        unknown=lambda text: re.sub(r'"s":"[^"]*"', '"s":"NOSUCHUSDT"', text),
    )

    def options(self) -> dict[str, Any]:
        rest = f"http://{self.url}/api/v3"
        raw = f"ws://{self.url}/stream/ws"
        ws = {"spot": raw, "margin": raw, "future": raw, "delivery": raw, "papi": raw}
        api = {
            **dict.fromkeys(REST_LEAVES, rest),
            "ws": {**ws, "ws-api": dict.fromkeys(("spot", "future", "delivery"), raw)},
        }
        return {
            "urls": {"api": api},
            "has": {"fetchCurrencies": False},
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "streaming": {"keepAlive": 1000},
        }

    def market_id(self, market: Market) -> str:
        return market.base + market.quote

    def add_routes(self, app: web.Application) -> None:
        BinanceRest(self).add_routes(app)
        app.router.add_get("/stream", self.serve)
        app.router.add_get("/ws", self.serve)
        app.router.add_get("/ws/{streams:.*}", self.serve)
        app.router.add_get("/stream/ws/{number}", self.serve)

    def connected(self, connection: Connection, request: web.Request) -> None:
        named = request.query.get("streams", request.match_info.get("streams", ""))
        self.subscribe(connection, self._topics(connection, [name for name in named.split("/") if name]))

    def received(self, connection: Connection, text: str) -> None:
        asked = json.loads(text)
        topics = self._topics(connection, asked.get("params") or [])
        answer: dict[str, Any] = {"result": None, "id": asked.get("id")}
        match asked.get("method"):
            case "SUBSCRIBE":
                self.subscribe(connection, topics)
            case "UNSUBSCRIBE":
                self.unsubscribe(connection, topics)
            case "LIST_SUBSCRIPTIONS":
                answer["result"] = sorted(topic.removeprefix(COMBINED) for topic in connection.topics)
            case _:
                answer = {"error": {"code": 2, "msg": "Invalid request: unknown method"}, "id": asked.get("id")}
        connection.send([json.dumps(answer, separators=(",", ":"))])

    def trade_topics(self, symbol: str) -> Sequence[str]:
        stream = self.market_id(self.markets[symbol]).lower()
        return [f"{combined}{stream}@{kind}" for kind in ("trade", "aggTrade") for combined in ("", COMBINED)]

    def trade_frames(self, trades: Sequence[Trade]) -> Iterator[tuple[str, str]]:
        market_id, event_ms = self.market_id(self.markets[trades[0].symbol]), self.now_ms
        stream = market_id.lower()
        yield from self._both(f"{stream}@trade", lambda: [_trade(trade, market_id, event_ms) for trade in trades])
        yield from self._both(
            f"{stream}@aggTrade", lambda: [_aggregate(group, market_id, event_ms) for group in aggregated(trades)]
        )

    def other_frames(self, symbol: str) -> Iterator[tuple[str, str]]:
        market_id, event_ms = self.market_id(self.markets[symbol]), self.now_ms
        stream = market_id.lower()
        for kind, told in (("bookTicker", self._quote), ("ticker", self._ticker), ("miniTicker", self._mini_ticker)):
            yield from self._both(f"{stream}@{kind}", lambda told=told: [told(symbol, market_id, event_ms)])
        for timeframe in TIMEFRAMES_MS:
            yield from self._both(
                f"{stream}@kline_{timeframe}",
                lambda timeframe=timeframe: [self._kline(symbol, market_id, event_ms, timeframe)],
            )

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.status in (418, 429):
            return {"code": -1003, "msg": "Too much request weight used."}
        return {"code": -1000, "msg": "An unknown error occurred while processing the request."}

    def _topics(self, connection: Connection, streams: Sequence[str]) -> list[str]:
        combined = connection.path.partition("?")[0] == "/stream"
        return [f"{COMBINED if combined else ''}{stream}" for stream in streams]

    def _both(self, topic: str, frames: Any) -> Iterator[tuple[str, str]]:
        """The frames for raw and for combined subscribers, made only if there are any."""
        raw, wrapped = self.listeners(topic), self.listeners(COMBINED + topic)
        for text in frames() if raw or wrapped else ():
            if raw:
                yield topic, text
            if wrapped:
                yield COMBINED + topic, f'{{"stream":"{topic}","data":{text}}}'

    def _quote(self, symbol: str, market_id: str, _event_ms: int) -> str:
        tally, market = self.ledger.tally(symbol), self.markets[symbol]
        bid, ask = fixed(tally.last), fixed(tally.last + market.tick)
        return f'{{"u":{tally.count},"s":"{market_id}","b":"{bid}","B":"1.00000000","a":"{ask}","A":"1.00000000"}}'

    def _ticker(self, symbol: str, market_id: str, event_ms: int) -> str:
        tally, tick = self.ledger.tally(symbol), self.markets[symbol].tick
        change = tally.last - tally.open
        return (
            f'{{"e":"24hrTicker","E":{event_ms},"s":"{market_id}","p":"{fixed(change)}",'
            f'"P":"{change / tally.open * 100:.3f}","w":"{fixed(tally.quote_volume / tally.volume)}",'
            f'"x":"{fixed(tally.open)}","c":"{fixed(tally.last)}","Q":"{fixed(tally.last_amount)}",'
            f'"b":"{fixed(tally.last)}","B":"1.00000000","a":"{fixed(tally.last + tick)}","A":"1.00000000",'
            f'"o":"{fixed(tally.open)}","h":"{fixed(tally.high)}","l":"{fixed(tally.low)}","v":"{fixed(tally.volume)}",'
            f'"q":"{fixed(tally.quote_volume)}","O":{tally.first_ms},"C":{event_ms},"F":{tally.first_number},'
            f'"L":{tally.last_number},"n":{tally.count}}}'
        )

    def _mini_ticker(self, symbol: str, market_id: str, event_ms: int) -> str:
        tally = self.ledger.tally(symbol)
        return (
            f'{{"e":"24hrMiniTicker","E":{event_ms},"s":"{market_id}","c":"{fixed(tally.last)}",'
            f'"o":"{fixed(tally.open)}","h":"{fixed(tally.high)}","l":"{fixed(tally.low)}","v":"{fixed(tally.volume)}",'
            f'"q":"{fixed(tally.quote_volume)}"}}'
        )

    def _kline(self, symbol: str, market_id: str, event_ms: int, timeframe: str) -> str:
        candle = self.ledger.open_candle(symbol, timeframe)
        end_ms = candle.open_ms + TIMEFRAMES_MS[timeframe] - 1
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{market_id}","k":{{"t":{candle.open_ms},"T":{end_ms},'
            f'"s":"{market_id}","i":"{timeframe}","f":{candle.first},"L":{candle.last},"o":"{fixed(candle.open)}",'
            f'"c":"{fixed(candle.close)}","h":"{fixed(candle.high)}","l":"{fixed(candle.low)}",'
            f'"v":"{fixed(candle.volume)}","n":{candle.trades},"x":false,"q":"{fixed(candle.quote_volume)}",'
            f'"V":"{fixed(candle.taker_volume)}","Q":"{fixed(candle.taker_quote_volume)}","B":"0"}}}}'
        )


def _trade(trade: Trade, market_id: str, event_ms: int) -> str:
    maker = "true" if trade.side == "sell" else "false"
    return (
        f'{{"e":"trade","E":{event_ms},"s":"{market_id}","t":{trade.id},"p":"{fixed(trade.price)}",'
        f'"q":"{fixed(trade.amount)}","T":{trade.ts_ms},"m":{maker},"M":true}}'
    )


def _aggregate(trades: Sequence[Trade], market_id: str, event_ms: int) -> str:
    first, last = trades[0], trades[-1]
    amount = sum((trade.amount for trade in trades[1:]), first.amount)
    maker = "true" if first.side == "sell" else "false"
    return (
        f'{{"e":"aggTrade","E":{event_ms},"s":"{market_id}","a":{first.aggregate},"p":"{fixed(first.price)}",'
        f'"q":"{fixed(amount)}","f":{first.id},"l":{last.id},"T":{first.ts_ms},"m":{maker},"M":true}}'
    )
