"""Local exchanges that speak what real ones do, so that real ccxt clients connect to them by other URLs alone.

Each listens on a free port of the loopback, keeps a ledger of every trade that happened, and can be told to misbehave:

    async with BinanceExchange(["BTC/USDT"]) as exchange:
        client = ccxt.pro.binance(exchange.options())
        ... client.watch_trades_for_symbols(["BTC/USDT"]) ...
        await exchange.until_subscribed("BTC/USDT")
        await exchange.trade("BTC/USDT", 64_000, "0.1")
        exchange.drop()                                     # and the exchange goes on trading
        await exchange.trade("BTC/USDT", 64_001, "0.2")
        assert received == exchange.ledger.ids_of("BTC/USDT")

Trading: `trade`, `trades` (all in one write), `feed` (recorded rows again, at a speed).
Connections: `drop`, `refuse`, `stall`/`unstall`, `delay`, `spoil` (lose, duplicate, reorder, truncate, "NaN" price,
unknown symbol, 10 MiB), each for all or for one of `connections`. HTTP: `rest.refuse_next` (429, 418), `rest.down`,
`rest.delay_s`, `rest.reach`, `rest.asked`. Also `clock_offset_ms`, `list_market`, `delist`; `until_subscribed` and
`until_connections` to wait for.
"""

from tests.exchange.binance import BinanceExchange
from tests.exchange.bybit import BybitExchange
from tests.exchange.connection import Connection, Spoil
from tests.exchange.ledger import Candle, Ledger, Trade, checksum
from tests.exchange.market import Market
from tests.exchange.okx import OkxExchange
from tests.exchange.rest import Refusal
from tests.exchange.server import Exchange, Row

VENUES: dict[str, type[Exchange]] = {venue.venue: venue for venue in (BinanceExchange, OkxExchange, BybitExchange)}
"""By ccxt id."""

__all__ = [
    "VENUES",
    "BinanceExchange",
    "BybitExchange",
    "Candle",
    "Connection",
    "Exchange",
    "Ledger",
    "Market",
    "OkxExchange",
    "Refusal",
    "Row",
    "Spoil",
    "Trade",
    "checksum",
]
