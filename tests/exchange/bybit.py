"""Bybit v5: `/v5/public/spot` and `/v5/market`.

Ids are UUIDs, as those of the venue's perpetuals: nothing in them tells that a trade is missing, or which came first.
(Recorded spot frames of 2026 carry increasing numbers with jumps, which tell no more about a missing trade.)
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from aiohttp import web
from tests.exchange.bybit_rest import INTERVALS, BybitRest, ticker
from tests.exchange.connection import Connection, Wording
from tests.exchange.ledger import TIMEFRAMES_MS, Ids, Trade
from tests.exchange.market import Market, plain
from tests.exchange.rest import Refusal
from tests.exchange.server import Exchange

ARGUMENTS_MAX = 10
"""Topics in one request on spot (https://bybit-exchange.github.io/docs/v5/ws/connect)."""
TRADES_MAX = 1024
"""Trades in one frame (https://bybit-exchange.github.io/docs/v5/websocket/public/trade)."""
INTERVAL_OF = {timeframe: interval for interval, timeframe in INTERVALS.items()}


def opaque(symbol: str, last: int) -> tuple[int, str]:
    """A UUID that is the same in every run."""
    return last + 1, str(uuid.uuid5(uuid.NAMESPACE_OID, f"{symbol}#{last + 1}"))


class BybitExchange(Exchange):
    """Bybit spot. Ids are UUIDs; HTTP reaches 60 trades back, or as far as `rest.reach` if that is less."""

    venue: ClassVar[str] = "bybit"
    ids: Ids = staticmethod(opaque)
    wording: ClassVar[Wording] = Wording(
        nan=lambda text: re.sub(r'"p":"[^"]*"', '"p":"NaN"', text),
        unknown=lambda text: re.sub(r"(publicTrade\.|\"s\":\")[A-Z0-9]+", r"\g<1>NOSUCHUSDT", text),
    )

    def options(self) -> dict[str, Any]:
        rest, ws = f"http://{self.url}", f"ws://{self.url}/v5"
        private: dict[str, Any] = dict.fromkeys(("contract", "usdc", "trade"), f"{ws}/private")
        private["spot"] = dict.fromkeys(("unified", "nonUnified"), f"{ws}/private")
        public = {kind: f"{ws}/public/{kind}" for kind in ("spot", "inverse", "option", "linear")}
        leaves = dict.fromkeys(("spot", "futures", "v2", "public", "private"), rest)
        return {
            "urls": {"api": {**leaves, "ws": {"public": public, "private": private}}},
            "has": {"fetchCurrencies": False},
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "streaming": {"keepAlive": 1000},
        }

    def market_id(self, market: Market) -> str:
        return market.base + market.quote

    def add_routes(self, app: web.Application) -> None:
        BybitRest(self).add_routes(app)
        app.router.add_get("/v5/public/spot", self.serve)

    def received(self, connection: Connection, text: str) -> None:
        asked = json.loads(text)
        operation, topics = asked.get("op"), asked.get("args") or []
        answer = {"success": True, "ret_msg": operation, "conn_id": f"local-{connection.number}", "op": operation}
        if "req_id" in asked:
            answer["req_id"] = asked["req_id"]
        if operation == "ping":
            answer["ret_msg"] = "pong"
        elif problem := self._problem(operation, topics):
            answer |= {"success": False, "ret_msg": problem}
        else:
            (self.unsubscribe if operation == "unsubscribe" else self.subscribe)(connection, topics)
        connection.send([_json(answer)])
        for topic in topics if operation == "subscribe" and answer["success"] else ():
            connection.send([frame for told, frame in self._states(topic) if told == topic])

    def _problem(self, operation: str | None, topics: Sequence[str]) -> str | None:
        if operation not in ("subscribe", "unsubscribe"):
            return "error:request op invalid"
        if len(topics) > ARGUMENTS_MAX:
            return f"args size >{ARGUMENTS_MAX}"
        unknown = [topic for topic in topics if topic.rpartition(".")[2] not in self.by_id]
        return f"error:handler not found,topic:{unknown[0]}" if unknown else None

    def trade_topics(self, symbol: str) -> Sequence[str]:
        return [f"publicTrade.{self.market_id(self.markets[symbol])}"]

    def trade_frames(self, trades: Sequence[Trade]) -> Iterator[tuple[str, str]]:
        market_id, now_ms = self.market_id(self.markets[trades[0].symbol]), self.now_ms
        topic = f"publicTrade.{market_id}"
        if self.listeners(topic):
            for start in range(0, len(trades), TRADES_MAX):
                told = ",".join(_trade(trade, market_id) for trade in trades[start : start + TRADES_MAX])
                yield topic, f'{{"topic":"{topic}","ts":{now_ms},"type":"snapshot","data":[{told}]}}'

    def other_frames(self, symbol: str) -> Iterator[tuple[str, str]]:
        market_id = self.market_id(self.markets[symbol])
        for kind in (f"tickers.{market_id}", f"orderbook.1.{market_id}"):
            if self.listeners(kind):
                yield from self._states(kind)
        for timeframe, interval in INTERVAL_OF.items():
            topic = f"kline.{interval}.{market_id}"
            if self.listeners(topic):
                yield topic, self._kline(symbol, timeframe, topic)

    def _states(self, topic: str) -> Iterator[tuple[str, str]]:
        """What a topic's subscriber hears at once: tickers and books begin with a snapshot. Of spot, all are."""
        market_id = topic.rpartition(".")[2]
        market, now_ms = self.by_id[market_id], self.now_ms
        tally = self.ledger.tally(market.symbol)
        if not tally.count:
            return
        head = {"topic": topic, "ts": now_ms, "type": "snapshot"}
        if topic.startswith("tickers."):
            fields = ticker(market_id, market, tally)
            quotes = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
            told = {name: value for name, value in fields.items() if name not in quotes}
            yield topic, _json({**head, "cs": tally.count, "data": told})
        elif topic.startswith("orderbook.1."):
            bids, asks = [[plain(tally.last), "1"]], [[plain(tally.last + market.tick), "1"]]
            book = {"s": market_id, "b": bids, "a": asks, "u": tally.count, "seq": tally.last_number}
            yield topic, _json({**head, "data": book, "cts": now_ms})

    def _kline(self, symbol: str, timeframe: str, topic: str) -> str:
        candle, now_ms = self.ledger.open_candle(symbol, timeframe), self.now_ms
        told = {
            "start": candle.open_ms,
            "end": candle.open_ms + TIMEFRAMES_MS[timeframe] - 1,
            "interval": INTERVAL_OF[timeframe],
            "open": plain(candle.open),
            "close": plain(candle.close),
            "high": plain(candle.high),
            "low": plain(candle.low),
            "volume": plain(candle.volume),
            "turnover": plain(candle.quote_volume),
            "confirm": False,
            "timestamp": self.ledger.tally(symbol).last_ms,
        }
        return _json({"type": "snapshot", "topic": topic, "data": [told], "ts": now_ms})

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        code, message = (10006, "Too many visits!") if refusal.status in (418, 429) else (10016, "Server error")
        return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": self.now_ms}


def _trade(trade: Trade, market_id: str) -> str:
    return (
        f'{{"i":"{trade.id}","T":{trade.ts_ms},"p":"{plain(trade.price)}","v":"{plain(trade.amount)}",'
        f'"S":"{trade.side.capitalize()}","seq":{trade.number},"s":"{market_id}","BT":false,"RPI":false}}'
    )


def _json(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
