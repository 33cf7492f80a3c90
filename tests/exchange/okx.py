"""OKX v5: `/ws/v5/public`, `/ws/v5/business` and `/api/v5`.

Ids only increase. (Recorded frames of 2022 show each the one before plus one, but the documentation promises no such
thing, and the `trades` channel tells several fills of one taker order as one trade with the last fill's id.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from aiohttp import web
from tests.exchange.connection import Connection, Wording
from tests.exchange.ledger import TIMEFRAMES_MS, Ids, Trade, aggregated
from tests.exchange.market import Market, plain
from tests.exchange.okx_rest import OkxRest, bar_of, kline, ticker
from tests.exchange.rest import Refusal
from tests.exchange.server import Exchange

CHANNELS = (
    "trades",
    "trades-all",
    "tickers",
    "bbo-tbt",
    *(f"candle{bar_of(timeframe)}" for timeframe in TIMEFRAMES_MS),
)


def with_jumps(_symbol: str, last: int) -> tuple[int, str]:
    """One to three more than the id before, by a rule that looks like none."""
    number = last + 1 + (last * 2_654_435_761 >> 16) % 3
    return number, str(number)


class OkxExchange(Exchange):
    """OKX spot. Ids are increasing numbers, per symbol."""

    venue: ClassVar[str] = "okx"
    ids: Ids = staticmethod(with_jumps)
    wording: ClassVar[Wording] = Wording(
        nan=lambda text: re.sub(r'"px":"[^"]*"', '"px":"NaN"', text),
        unknown=lambda text: re.sub(r'"instId":"[^"]*"', '"instId":"NOSUCH-USDT"', text),
    )

    def options(self) -> dict[str, Any]:
        return {
            "urls": {"api": {"rest": f"http://{self.url}", "ws": f"ws://{self.url}/ws/v5"}},
            "has": {"fetchCurrencies": False},
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "streaming": {"keepAlive": 1000},
        }

    def market_id(self, market: Market) -> str:
        return f"{market.base}-{market.quote}"

    def add_routes(self, app: web.Application) -> None:
        OkxRest(self).add_routes(app)
        app.router.add_get("/ws/v5/public", self.serve)
        app.router.add_get("/ws/v5/business", self.serve)

    def received(self, connection: Connection, text: str) -> None:
        if text == "ping":
            connection.send(["pong"])
            return
        asked = json.loads(text)
        if asked.get("op") == "login":
            connection.send([_json({"event": "login", "code": "0", "msg": "", "connId": f"{connection.number:08x}"})])
            return
        for argument in asked.get("args") or []:
            connection.send([_json(self._answer(connection, asked.get("op"), argument))])

    def _answer(self, connection: Connection, operation: str | None, argument: dict[str, str]) -> dict[str, Any]:
        channel, market_id = argument.get("channel", ""), argument.get("instId", "")
        connection_id = {"connId": f"{connection.number:08x}"}
        if channel not in CHANNELS or market_id not in self.by_id:
            wrong = f"Wrong URL or channel:{channel},instId:{market_id} doesn't exist."
            return {"event": "error", "msg": wrong, "code": "60018", **connection_id}
        change = self.unsubscribe if operation == "unsubscribe" else self.subscribe
        change(connection, [f"{channel}:{market_id}"])
        return {"event": operation, "arg": argument, **connection_id}

    def trade_topics(self, symbol: str) -> Sequence[str]:
        market_id = self.market_id(self.markets[symbol])
        return [f"trades:{market_id}", f"trades-all:{market_id}"]

    def trade_frames(self, trades: Sequence[Trade]) -> Iterator[tuple[str, str]]:
        market_id = self.market_id(self.markets[trades[0].symbol])
        together, single = self.trade_topics(trades[0].symbol)
        if self.listeners(together):
            for group in aggregated(trades):
                amount = sum((trade.amount for trade in group), Decimal(0))
                yield together, _trades("trades", market_id, group[-1], amount, f'"count":"{len(group)}",')
        if self.listeners(single):
            for trade in trades:
                yield single, _trades("trades-all", market_id, trade, trade.amount, "")

    def other_frames(self, symbol: str) -> Iterator[tuple[str, str]]:
        market, now_ms = self.markets[symbol], str(self.now_ms)
        market_id = self.market_id(market)
        if self.listeners(f"tickers:{market_id}"):
            told = ticker(market_id, market, self.ledger.tally(symbol), self.now_ms)
            yield f"tickers:{market_id}", _push("tickers", market_id, told)
        if self.listeners(f"bbo-tbt:{market_id}"):
            tally = self.ledger.tally(symbol)
            book = {
                "asks": [[plain(tally.last + market.tick), "1", "0", "1"]],
                "bids": [[plain(tally.last), "1", "0", "1"]],
                "ts": now_ms,
                "seqId": tally.count,
            }
            yield f"bbo-tbt:{market_id}", _push("bbo-tbt", market_id, book)
        for timeframe in TIMEFRAMES_MS:
            channel = f"candle{bar_of(timeframe)}"
            if self.listeners(f"{channel}:{market_id}"):
                candle = kline(self.ledger.open_candle(symbol, timeframe), closed=False)
                yield f"{channel}:{market_id}", _push(channel, market_id, candle)

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.status in (418, 429):
            return {"code": "50011", "msg": "Too Many Requests", "data": []}
        return {"code": "50001", "msg": "Service temporarily unavailable.", "data": []}


def _trades(channel: str, market_id: str, trade: Trade, amount: Decimal, count: str) -> str:
    return (
        f'{{"arg":{{"channel":"{channel}","instId":"{market_id}"}},"data":[{{"instId":"{market_id}",'
        f'"tradeId":"{trade.id}","px":"{plain(trade.price)}","sz":"{plain(amount)}","side":"{trade.side}",'
        f'"ts":"{trade.ts_ms}",{count}"source":"0","seqId":{trade.number}}}]}}'
    )


def _push(channel: str, market_id: str, told: Any) -> str:
    return _json({"arg": {"channel": channel, "instId": market_id}, "data": [told]})


def _json(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
