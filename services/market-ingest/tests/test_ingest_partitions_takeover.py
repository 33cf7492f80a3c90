"""Two processes share a live market; one joins while it trades, one is killed: every candle exact, none lost or double.

`TOCSIN_KILLS` says how often one of the two is killed and replaced (default 1).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.exchange import BinanceExchange, Exchange

from tocsin_common.bus.protocol import Bus
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK, LEASES
from tocsin_common.subjects import partition_of
from tocsin_trading.timeframes import TIMEFRAME_MS

KILLS = int(os.environ.get("TOCSIN_KILLS", "1"))
SYMBOLS = [f"{base}/USDT" for base in ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "BNB", "LINK", "TRX", "LTC")]
PATIENCE_S = 60.0
TAKEOVER_S = 15.0
ROUND_S = 2.0


class Replica:
    """One market-ingest process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, nats_url: str, exchange: Exchange) -> Replica:
        source = {
            "kind": "live",
            "history_candles": 0,
            "reconcile_s": 0,
            "exchanges": {exchange.venue: {"symbols": SYMBOLS, "options": exchange.options()}},
        }
        environ = {
            **os.environ,
            "TOCSIN__NATS__URL": nats_url,
            "TOCSIN__MARKET_INGEST__SOURCE": json.dumps(source),
            "TOCSIN__MARKET_INGEST__TIMEFRAMES": json.dumps(["1s", "1m", "5m", "15m", "1h", "4h", "1d"]),
        }
        return cls(
            await asyncio.create_subprocess_exec(sys.executable, "-m", "market_ingest", env=environ, stdout=DEVNULL)
        )

    async def end(self, how: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.wait()


@asynccontextmanager
async def trading(exchange: Exchange, time_passes: Any) -> AsyncIterator[None]:
    """The exchange trades all the time, whoever listens."""

    async def trade() -> None:
        number = 0
        while True:
            number += 1
            await exchange.trade(SYMBOLS[number % len(SYMBOLS)], 60_000 + number, f"0.{number % 97 + 1:02}")
            await time_passes(0.01)

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        task.cancel()


async def holders(bus: Bus) -> dict[int, str]:
    """Who holds each partition."""
    entries = await bus.bucket(LEASES).all()
    prefix = "market-ingest-partition-"
    return {
        int(key.removeprefix(prefix)): (entry.value or b"").decode()
        for key, entry in entries.items()
        if key.startswith(prefix)
    }


async def pids(bus: Bus) -> dict[str, int]:
    """The process of each member."""
    entries = (await bus.bucket(LEASES).all()).items()
    abouts = [json.loads(entry.value or b"") for key, entry in entries if key.startswith("market-ingest-member-")]
    return {about["name"]: about["pid"] for about in abouts}


async def symbols_held(bus: Bus) -> dict[int, list[str]]:
    """The symbols of each process."""
    held = await holders(bus)
    whose = {symbol: held.get(partition_of("binance", symbol)) for symbol in SYMBOLS}
    return {pid: [s for s in SYMBOLS if whose[s] == name] for name, pid in (await pids(bus)).items()}


async def test_killed_either_of_two_leaves_every_candle_exact(
    nats_url: str, jetstream_bus: Bus, on_streams: Any, time_passes: Any
) -> None:
    bus, stored = jetstream_bus, on_streams(jetstream_bus)
    chance = random.Random(time.time_ns())

    async def two_share() -> bool:
        held = Counter((await holders(bus)).values())
        return sorted(held[name] for name in await pids(bus)) == [32, 32]

    async with BinanceExchange(SYMBOLS) as exchange:
        replicas = [await Replica.start(nats_url, exchange)]
        await exchange.until_subscribed(*SYMBOLS, timeout_s=PATIENCE_S)
        try:
            async with trading(exchange, time_passes):
                replicas.append(await Replica.start(nats_url, exchange))
                await stored.until(two_share)
                for _ in range(KILLS):
                    await time_passes(ROUND_S)
                    symbols = await symbols_held(bus)
                    busy = [replica for replica in replicas if symbols[replica.process.pid]]  # by chance only one is
                    victim = chance.choice(busy)
                    replicas.remove(victim)
                    await victim.end(signal.SIGKILL)
                    await _until_taken_over(stored, exchange, symbols[victim.process.pid])
                    replicas.append(await Replica.start(nats_url, exchange))
                    await stored.until(two_share)
                await time_passes(ROUND_S)
            await stored.until_stored(exchange, *SYMBOLS, seconds=PATIENCE_S)
            await _compare(stored, exchange)
            await _clock_is_sound(stored)
        finally:
            for replica in replicas:
                await replica.end(signal.SIGTERM)


async def _until_taken_over(stored: Any, exchange: Exchange, symbols: list[str]) -> None:
    """Until trades from after the death of their replica are on the stream, of every symbol it had."""
    killed_s = time.monotonic()
    counts = {symbol: len(exchange.ledger.ids_of(symbol)) for symbol in symbols}

    async def taken_over() -> bool:
        return all([len(await stored.ids(symbol)) > counts[symbol] for symbol in symbols])

    await stored.until(taken_over)
    assert time.monotonic() - killed_s < TAKEOVER_S


async def _compare(stored: Any, exchange: Exchange) -> None:
    """Every closed candle against the exchange's ledger."""
    end_ms = exchange.now_ms // 1_000 * 1_000

    async def closed() -> bool:
        return all([max(await stored.candles(symbol, "1s"), default=0) >= end_ms for symbol in SYMBOLS])

    await stored.until(closed)
    for symbol in SYMBOLS:
        for timeframe in ("1s", "1m"):
            length_ms = TIMEFRAME_MS[timeframe]
            found = await stored.candles(symbol, timeframe)
            ours = {at: one for at, one in found.items() if at + length_ms <= end_ms}
            candles = exchange.ledger.candles(symbol, timeframe, end_ms - 1)
            theirs = {one.open_ms: _values(one) for one in candles if one.open_ms + length_ms <= end_ms}
            wrong = [at for at in sorted(ours.keys() | theirs.keys()) if ours.get(at) != theirs.get(at)]
            assert not wrong, f"{symbol} {timeframe}: {[(at, ours.get(at), theirs.get(at)) for at in wrong[:3]]}"


async def _clock_is_sound(stored: Any) -> None:
    """Marks never go back."""
    marks = [event for event in await stored.events(CLOCK) if isinstance(event, ClockAdvanced)]
    for before, after in itertools.pairwise(marks):
        assert after.time_ms >= before.time_ms
        assert after.candles_seq >= before.candles_seq
        assert after.trades_seq >= before.trades_seq


def _values(candle: Any) -> tuple[float, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return (*(float(value) for value in prices), candle.trades)
