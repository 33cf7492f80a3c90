"""The exchange behind every wire format: it trades, tells subscribers, answers requests, misbehaves on order."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, Self

from aiohttp import web
from tests.exchange.connection import Connection
from tests.exchange.ledger import Ids, Ledger, Trade, one_by_one
from tests.exchange.market import Market
from tests.exchange.rest import Asked, Refusal, Rest
from tests.exchange.wire import Wire

Number = Decimal | float | int | str


class Row(NamedTuple):
    """A trade to happen. `ts_ms` None: now. `same_order`: it fills the same taker order as the row before, so that both
    are one aggregate if symbol, time, price and side agree."""

    symbol: str
    price: Number
    amount: Number = "1"
    side: str = "buy"
    ts_ms: int | None = None
    same_order: bool = False


class Exchange(Wire):
    """A venue on the loopback: `async with BinanceExchange(["BTC/USDT"]) as exchange`.

    Subclasses speak one wire format. Switches of the WebSocket side are methods here, those of the HTTP side are in
    `rest`; both work at any time.

    Attributes:
        ledger: every trade that happened.
        rest: the HTTP side.
        routes: what adds paths beside the venue's own, before the exchange opens.
        clock_offset_ms: how far the exchange's clock is ahead; trades without a time of their own follow it.
    """

    venue: ClassVar[str]
    ids: Ids = staticmethod(one_by_one)

    def __init__(
        self, symbols: Iterable[str | Market] = ("BTC/USDT", "ETH/USDT"), *, port: int = 0, keep: int | None = None
    ) -> None:
        super().__init__()
        self.port = port
        self.ledger = Ledger(self.ids, keep)
        self.rest = Rest()
        self.markets: dict[str, Market] = {}
        self.by_id: dict[str, Market] = {}
        self.clock_offset_ms = 0
        self.routes: list[Callable[[web.Application], None]] = []
        self._runner: web.AppRunner | None = None
        for market in symbols:
            self.list_market(market)

    # What a venue says in its own words.

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """ccxt constructor options that send every request of a real client here."""

    @abstractmethod
    def market_id(self, market: Market) -> str:
        """The venue's own name of a market."""

    @abstractmethod
    def add_routes(self, app: web.Application) -> None:
        """Add the venue's paths; WebSocket paths lead to `serve`."""

    @abstractmethod
    def trade_frames(self, trades: Sequence[Trade]) -> Iterator[tuple[str, str]]:
        """What subscribers hear of trades of one symbol that happened together: topic and frame, in order."""

    @abstractmethod
    def other_frames(self, symbol: str) -> Iterator[tuple[str, str]]:
        """What else changed with the symbol's last trades: topic and frame of tickers, quotes and candles."""

    @abstractmethod
    def refused(self, refusal: Refusal) -> dict[str, Any]:
        """The body of an error answer."""

    # Life.

    @property
    def url(self) -> str:
        """Where it listens: `host:port`."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._rest_faults])
        for add_routes in (self.add_routes, *self.routes):
            add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.rest.closing.set()
        self.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    # Trading.

    @property
    def now_ms(self) -> int:
        """The exchange's clock."""
        return time.time_ns() // 1_000_000 + self.clock_offset_ms

    async def trade(
        self, symbol: str, price: Number, amount: Number = "1", side: str = "buy", ts_ms: int | None = None
    ) -> Trade:
        """One trade happens, and whoever can hear it does."""
        return (await self.trades([Row(symbol, price, amount, side, ts_ms)]))[0]

    async def trades(self, rows: Iterable[Row]) -> list[Trade]:
        """Trades happen together: every subscriber gets them in one write.

        Raises:
            KeyError: a symbol is not listed.
            ValueError: it is delisted, or a trade is older than the symbol's last.
        """
        happened = self.record(rows)
        await asyncio.sleep(0)  # connections that just went down notice, whoever trades in a loop lets others run
        return happened

    def record(self, rows: Iterable[Row]) -> list[Trade]:
        """`trades` without giving way to others."""
        by_symbol: dict[str, list[Trade]] = {}
        happened = []
        now_ms = self.now_ms
        for row in rows:
            if not self.markets[row.symbol].live:
                raise ValueError(f"{row.symbol} is delisted")
            together = by_symbol.setdefault(row.symbol, [])
            # A clock set back must not make a trade older than the one before it.
            ts_ms = max(now_ms, self.ledger.tally(row.symbol).last_ms) if row.ts_ms is None else row.ts_ms
            price, amount = exact(row.price), exact(row.amount)
            trade = self.ledger.record(row.symbol, ts_ms, price, amount, row.side, same_order=row.same_order)
            together.append(trade)
            happened.append(trade)
        self._tell(by_symbol)
        return happened

    async def feed(self, rows: Iterable[Mapping[str, Any]], speed: float = 1.0) -> int:
        """Let recorded trades happen again: mappings with `symbol`, `ts_ms`, `price`, `amount` and `side`, by time. The
        first happens now, the others as much later as they were recorded later, divided by `speed`. Ids are new.
        Returns how many there were."""
        start_ms, first_ms, count = self.now_ms, None, 0
        batch: list[Row] = []
        for row in rows:
            first_ms = row["ts_ms"] if first_ms is None else first_ms
            ts_ms = start_ms + round((row["ts_ms"] - first_ms) / speed)
            if batch and ts_ms != batch[-1].ts_ms:
                await self._at(batch)
                batch = []
            batch.append(Row(row["symbol"], row["price"], row["amount"], row["side"] or "buy", ts_ms))
            count += 1
        if batch:
            await self._at(batch)
        return count

    async def _at(self, batch: Sequence[Row]) -> None:
        ts_ms = batch[0].ts_ms
        assert ts_ms is not None
        await self.rest.wait((ts_ms - self.now_ms) / 1000)
        await self.trades(batch)

    def _tell(self, by_symbol: Mapping[str, Sequence[Trade]]) -> None:
        trades: dict[Connection, list[str]] = defaultdict(list)
        others: dict[Connection, list[str]] = defaultdict(list)
        for symbol, together in by_symbol.items():
            for frames, out in ((self.trade_frames(together), trades), (self.other_frames(symbol), others)):
                for topic, text in frames:
                    for connection in self.listeners(topic):
                        out[connection].append(text)
        for connection, texts in trades.items():
            connection.send_trades(texts)
        for connection, texts in others.items():
            connection.send(texts)

    # Markets.

    def list_market(self, market: str | Market) -> Market:
        """List a market, or list it again."""
        market = market if isinstance(market, Market) else Market(market)
        self.markets[market.symbol] = market
        self.by_id[self.market_id(market)] = market
        return market

    def delist(self, symbol: str) -> None:
        """End the trading of a market. It stays known, as one that does not trade."""
        self.markets[symbol].live = False

    def history(self, symbol: str) -> Sequence[Trade]:
        """The trades of a symbol that HTTP still reaches."""
        trades, reach = self.ledger.trades(symbol), self.rest.reach
        if reach is None:
            return trades
        return trades[-reach:] if reach else []

    # HTTP.

    @web.middleware
    async def _rest_faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket" or request.path.startswith("/_"):
            return await handler(request)  # type: ignore[no-any-return]
        refusal = await self.rest.refusal()
        response = await handler(request) if refusal is None else self._refuse(refusal)
        if self.rest.body is not None:
            response = web.Response(body=self.rest.body, content_type="application/json")
        asked = Asked(request.path, dict(request.query), asyncio.get_running_loop().time(), response.status)
        self.rest.asked.append(asked)
        return response

    def _refuse(self, refusal: Refusal) -> web.Response:
        headers = {} if refusal.retry_after_s is None else {"Retry-After": f"{refusal.retry_after_s:g}"}
        return web.json_response(self.refused(refusal), status=refusal.status, headers=headers)


def exact(number: Number) -> Decimal:
    """The number as it is written; of a float, the shortest that means it."""
    return number if isinstance(number, Decimal) else Decimal(str(number))
