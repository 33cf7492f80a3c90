"""Random faults at random times, on three wire formats: what traded is on the stream or was announced as lost.

`TOCSIN_FAULT_RUNS` says how many runs (default: one per wire format), `TOCSIN_FAULT_SEED` repeats one of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from tests.exchange import BinanceExchange, BybitExchange, Candle, Exchange, OkxExchange, Row, Spoil, Trade

from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import FeedChanged

VENUES: list[Callable[..., Exchange]] = [BinanceExchange, OkxExchange, BybitExchange]
SYMBOLS = ["BTC/USDT", "ETH/USDT", "RARE/USDT"]
WEIGHTS = [20, 10, 1]

TROUBLE_S = 8.0
CALM_S = 45.0
PATIENCE_S = 60.0
FAULTS = 6


def seeds() -> list[int]:
    if "TOCSIN_FAULT_SEED" in os.environ:
        return [int(os.environ["TOCSIN_FAULT_SEED"])]
    return list(range(int(os.environ.get("TOCSIN_FAULT_RUNS", len(VENUES)))))


class Trouble:
    """Trades and faults by chance: the same seed gives the same ones."""

    def __init__(self, exchange: Exchange, seed: int, time_passes: Callable[[float], Awaitable[None]]) -> None:
        self.chance = random.Random(seed)
        self.exchange = exchange
        self.time_passes = time_passes
        self.happened: list[str] = []
        self._price = 10_000

    def row(self) -> Row:
        """A trade unlike its neighbours, so that no exchange sums it up with them."""
        self._price += 1
        chance = self.chance
        (symbol,) = chance.choices(SYMBOLS, WEIGHTS)
        return Row(symbol, self._price, f"0.{chance.randrange(1, 1000):03}", chance.choice(["buy", "sell"]))

    async def trade(self, seconds: float) -> None:
        end_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end_s:
            await self.exchange.trades([self.row() for _ in range(self.chance.choice([1, 1, 1, 2, 5]))])
            await self.time_passes(self.chance.uniform(0.0, 0.04))

    async def break_things(self, seconds: float) -> None:
        times = sorted(self.chance.uniform(0.2, seconds) for _ in range(FAULTS))
        faults = self.chance.choices(self.faults(), k=FAULTS)
        before_s = 0.0
        async with asyncio.TaskGroup() as group:
            for at_s, fault in zip(times, faults, strict=True):
                await self.time_passes(at_s - before_s)
                before_s = at_s
                self.happened.append(f"{at_s:.2f} {fault.__name__}")
                group.create_task(fault())

    def faults(self) -> list[Callable[[], Any]]:
        return [self.drop, self.refuse, self.stall, self.delay, self.spoil, self.spoil, self.rest, self.burst]

    async def drop(self) -> None:
        self.exchange.drop()

    async def refuse(self) -> None:
        self.exchange.refuse(1.0)
        self.exchange.drop()

    async def stall(self) -> None:
        """Shorter than it takes to miss a ping only where ids tell."""
        seconds = self.chance.uniform(0.5 if isinstance(self.exchange, BinanceExchange) else 2.5, 4.0)
        self.exchange.stall()
        await self.time_passes(seconds)
        self.exchange.unstall()

    async def delay(self) -> None:
        self.exchange.delay(self.chance.uniform(0.1, 1.0))
        await self.time_passes(1.0)
        self.exchange.delay(0.0)

    async def spoil(self) -> None:
        spoils = list(Spoil)
        if not isinstance(self.exchange, BinanceExchange):
            spoils.remove(Spoil.LOSE)  # without consecutive ids nobody can tell
        spoil, times = self.chance.choice(spoils), self.chance.randrange(1, 4)
        self.happened[-1] += f" {spoil} {times}"
        self.exchange.spoil(spoil, times)

    async def rest(self) -> None:
        rest = self.exchange.rest
        match self.chance.randrange(5):
            case 0:
                rest.refuse_next(2, status=429, retry_after_s=1.0)
            case 1:
                rest.refuse_next(1, status=418, retry_after_s=2.0)
            case 2:
                rest.down = True
            case 3:
                rest.delay_s = 0.5
            case 4:
                rest.reach = 20
        self.exchange.drop()
        await self.time_passes(2.0)
        rest.down, rest.delay_s, rest.reach = False, 0.0, None

    async def burst(self) -> None:
        await self.exchange.trades([self.row() for _ in range(3_000)])

    def calm(self) -> None:
        self.exchange.unstall()
        self.exchange.delay(0.0)
        for connection in self.exchange.connections:
            connection.spoils.clear()


@pytest.mark.parametrize("seed", seeds())
async def test_whatever_breaks_every_trade_is_stored_or_announced_as_lost(
    memory_bus: MemoryBus, ingesting: Any, time_passes: Any, seed: int
) -> None:
    venue = VENUES[seed % len(VENUES)]
    async with (
        venue(SYMBOLS) as exchange,
        ingesting(memory_bus, exchange, seconds=True, stale_after_s=3.0, repair_s=8.0) as running,
    ):
        await exchange.until_subscribed(*SYMBOLS, timeout_s=PATIENCE_S)
        for symbol in SYMBOLS:
            await exchange.trade(symbol, 9_999, "1")
        await running.until_stored(exchange)
        trouble = Trouble(exchange, seed, time_passes)
        await asyncio.gather(trouble.trade(TROUBLE_S), trouble.break_things(TROUBLE_S))
        trouble.calm()
        print(f"seed {seed}, {exchange.venue}: {trouble.happened}")

        async def accounted() -> bool:
            await trouble.exchange.trades([trouble.row()])
            settled_ms = exchange.now_ms - 500
            left = [one for symbol in SYMBOLS for one in await missing(running, exchange, symbol)]
            return not any(one.ts_ms < settled_ms for one in left)

        with suppress(TimeoutError):
            await running.until(accounted, CALM_S)
        await trouble.trade(0.1)
        closed_ms = exchange.now_ms
        for symbol in SYMBOLS:
            await exchange.trade(symbol, 9_999, "1")

        async def closed() -> bool:
            return all([max(await running.candles(symbol, "1s"), default=0) >= closed_ms - 1_000 for symbol in SYMBOLS])

        with suppress(TimeoutError):
            await running.until(closed, 10.0)
        for symbol in SYMBOLS:
            await check(running, exchange, symbol, closed_ms)


async def check(running: Any, exchange: Exchange, symbol: str, closed_ms: int) -> None:
    """The law, for one symbol."""
    ledger = exchange.ledger.ids_of(symbol)
    stored = await running.ids(symbol)
    lost = await unfilled(running, symbol)
    assert not await missing(running, exchange, symbol), f"neither stored nor announced; announced were {lost}"
    assert len(stored) == len(set(stored)), f"{symbol}: an id is there twice"
    place = {name: at for at, name in enumerate(ledger)}
    assert stored == sorted(stored, key=lambda name: place[name]), f"{symbol}: not in order"
    if lost and lost[0].from_id is not None:
        by_id = {trade.id: trade for trade in exchange.ledger.trades(symbol)}
        assert not any(covers(lost, by_id[name]) for name in stored), "announced as lost, and stored"
    ours = await running.candles(symbol, "1s")
    theirs = {one.open_ms: values(one) for one in exchange.ledger.candles(symbol, "1s")}
    for open_ms in sorted({*ours, *theirs}):
        if open_ms + 1_000 <= closed_ms and not touched(lost, open_ms):
            assert ours.get(open_ms) == theirs.get(open_ms), f"{symbol}: the candle at {open_ms}"


async def unfilled(running: Any, symbol: str) -> list[FeedChanged]:
    return [change for change in await running.feeds(symbol) if change.state == "gap_unfilled"]


async def missing(running: Any, exchange: Exchange, symbol: str) -> list[Trade]:
    """Trades of the ledger that are neither on the stream nor in an announced gap."""
    stored, lost = set(await running.ids(symbol)), await unfilled(running, symbol)
    return [one for one in exchange.ledger.trades(symbol) if one.id not in stored and not covers(lost, one)]


def covers(lost: Sequence[FeedChanged], trade: Trade) -> bool:
    """Whether a trade lies in an announced gap: between its ids where they have an order, else in its time."""
    for change in lost:
        assert change.from_ms is not None
        assert change.to_ms is not None
        if change.from_id is not None and change.to_id is not None:
            if int(change.from_id) < trade.number < int(change.to_id):
                return True
        elif change.from_ms <= trade.ts_ms < change.to_ms:
            return True
    return False


def touched(lost: Sequence[FeedChanged], open_ms: int) -> bool:
    """Whether a candle of a second touches an announced gap, or lies between it and the trades around it."""
    return any(
        change.from_ms // 1_000 * 1_000 <= open_ms < change.to_ms  # type: ignore[operator]
        for change in lost
    )


def values(candle: Candle) -> tuple[float, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return (*(float(value) for value in prices), candle.trades)
