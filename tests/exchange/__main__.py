"""A test exchange as its own process: `python -m tests.exchange --venue binance --symbols 200 --rate 5000 --port 0`.

When it listens it prints one line of JSON: `venue`, `url`, `symbols`, and `options` for the ccxt client. Then it trades
until SIGTERM. `GET /_ledger` answers per symbol how many trades there were, the first and the last id and the sum of
`checksum` over them; `POST /_pause` ends the trading, so that what is compared stands still, `POST /_resume` goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from typing import Any

from aiohttp import web
from tests.exchange import VENUES
from tests.exchange.server import Exchange
from tests.exchange.synthetic import Pump, symbols


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.exchange", description="a local exchange that trades")
    parser.add_argument("--venue", choices=sorted(VENUES), default="binance", help="whose wire format")
    parser.add_argument("--symbols", type=int, default=200, help="how many markets")
    parser.add_argument("--rate", type=float, default=5000.0, help="trades per second, over all markets")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--seed", type=int, default=1, help="of the trades")
    parser.add_argument("--keep", type=int, default=1000, help="trades per market that HTTP reaches at least")
    asyncio.run(serve(parser.parse_args()))


async def serve(arguments: argparse.Namespace) -> None:
    """Trade until SIGTERM or SIGINT."""
    # A full pass over the kept trades takes 0.4 s, and then 2,000 of them would come at once. Counting frees them.
    gc.disable()
    names = symbols(arguments.symbols)
    exchange = VENUES[arguments.venue](names, port=arguments.port, keep=arguments.keep)
    pump = Pump(exchange, arguments.rate, arguments.seed)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    exchange.routes.append(lambda app: add_control(app, exchange, pump))
    async with exchange:
        line = {"venue": exchange.venue, "url": exchange.url, "symbols": names, "options": exchange.options()}
        print(json.dumps(line), flush=True)
        trading = asyncio.create_task(pump.run())
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait({trading, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if trading.done():
            trading.result()
        trading.cancel()


def add_control(app: web.Application, exchange: Exchange, pump: Pump) -> None:
    """The paths for whoever compares; none of the venue's faults touch them."""

    async def ledger(_request: web.Request) -> web.Response:
        return web.json_response(summary(exchange))

    async def pause(_request: web.Request) -> web.Response:
        pump.paused = True
        return web.json_response(summary(exchange))

    async def resume(_request: web.Request) -> web.Response:
        pump.paused = False
        return web.json_response({})

    app.router.add_get("/_ledger", ledger)
    app.router.add_post("/_pause", pause)
    app.router.add_post("/_resume", resume)


def summary(exchange: Exchange) -> dict[str, Any]:
    """What happened so far, per symbol."""
    return {
        symbol: {
            "count": tally.count,
            "first_id": tally.first_id,
            "last_id": tally.last_id,
            "checksum": tally.checksum,
        }
        for symbol, tally in exchange.ledger.tallies.items()
    }


if __name__ == "__main__":
    main()
