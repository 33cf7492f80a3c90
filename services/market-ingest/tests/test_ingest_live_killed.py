"""Killed in the middle of a candle, again and again: no trade is lost or stored twice, and the candles are exact.

`TOCSIN_KILLS` says how often (default 2).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.exchange import BinanceExchange, Exchange

from tocsin_common.bus.protocol import Bus

KILLS = int(os.environ.get("TOCSIN_KILLS", "2"))
SYMBOLS = ["BTC/USDT", "ETH/USDT"]
PATIENCE_S = 60.0
ROUND_S = 2.0


async def start(nats_url: str, exchange: Exchange) -> Process:
    source = {
        "kind": "live",
        "exchanges": {exchange.venue: {"symbols": SYMBOLS, "options": exchange.options()}},
    }
    environ = {
        **os.environ,
        "TOCSIN__NATS__URL": nats_url,
        "TOCSIN__MARKET_INGEST__SOURCE": json.dumps(source),
        "TOCSIN__MARKET_INGEST__TIMEFRAMES": json.dumps(["1s", "1m", "5m", "15m", "1h", "4h", "1d"]),
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "market_ingest", env=environ, stdout=DEVNULL)


@asynccontextmanager
async def trading(exchange: Exchange, time_passes: Any) -> AsyncIterator[None]:
    """The exchange trades all the time, whoever listens."""

    async def trade() -> None:
        number = 0
        while True:
            number += 1
            await exchange.trade(SYMBOLS[number % 3 == 0], 60_000 + number, f"0.{number % 97 + 1:02}")
            await time_passes(0.02)

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        task.cancel()


async def test_killed_in_the_middle_of_candles_they_are_exact(
    nats_url: str, jetstream_bus: Bus, on_streams: Any, time_passes: Any
) -> None:
    stored = on_streams(jetstream_bus)
    async with BinanceExchange(SYMBOLS) as exchange:
        process = await start(nats_url, exchange)
        await exchange.until_subscribed(*SYMBOLS, timeout_s=PATIENCE_S)
        async with trading(exchange, time_passes):
            for _ in range(KILLS):
                await time_passes(ROUND_S)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                process = await start(nats_url, exchange)
                await exchange.until_subscribed(*SYMBOLS, timeout_s=PATIENCE_S)
            await time_passes(ROUND_S)
        await stored.until_stored(exchange, *SYMBOLS, seconds=PATIENCE_S)
        end_ms = exchange.now_ms // 1_000 * 1_000

        async def closed() -> bool:
            return all([max(await stored.candles(symbol, "1s"), default=0) >= end_ms for symbol in SYMBOLS])

        await stored.until(closed)
        process.terminate()
        await process.wait()
        for symbol in SYMBOLS:
            ours = {at: one for at, one in (await stored.candles(symbol, "1s")).items() if at < end_ms}
            theirs = {one.open_ms: values(one) for one in exchange.ledger.candles(symbol, "1s", end_ms - 1)}
            assert ours == theirs, f"{symbol}: {len(ours)} candles against {len(theirs)}"
            assert await stored.repaired(symbol), "something happened while it was gone"


def values(candle: Any) -> tuple[float, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return (*(float(value) for value in prices), candle.trades)
