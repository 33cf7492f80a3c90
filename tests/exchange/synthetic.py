"""Trades out of nothing: many symbols, a steady rate, the same again for the same seed."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

from tests.exchange.server import Exchange, Row

PULSE_S = 0.01
FIRST_TICKS = 1_000_000
STEP_TICKS = 20
UNITS_MAX = 100_000


def symbols(count: int) -> list[str]:
    """Names of as many markets."""
    return [f"C{number:03}/USDT" for number in range(count)]


class Walk:
    """A random walk of every symbol's price, in ticks of 0.01; amounts are multiples of 0.00001."""

    def __init__(self, names: list[str], seed: int) -> None:
        self._random = random.Random(seed)
        self._names = names
        self._ticks = dict.fromkeys(names, FIRST_TICKS)

    def rows(self, count: int) -> list[Row]:
        """The next trades, of symbols at random."""
        chosen, draw = self._random.choices(self._names, k=count), self._random.random
        return [self._row(symbol, draw(), draw()) for symbol in chosen]

    def _row(self, symbol: str, move: float, size: float) -> Row:
        ticks = max(1, self._ticks[symbol] + int(move * (2 * STEP_TICKS + 1)) - STEP_TICKS)
        self._ticks[symbol] = ticks
        units = 1 + int(size * UNITS_MAX)
        return Row(symbol, Decimal(ticks).scaleb(-2), Decimal(units).scaleb(-5), "buy" if units % 2 else "sell")


class Pump:
    """Lets trades happen at a rate, until paused. What a busy machine was late with is made up for."""

    def __init__(self, exchange: Exchange, rate: float, seed: int) -> None:
        self._exchange, self._rate = exchange, rate
        self._walk = Walk([symbol for symbol, market in exchange.markets.items() if market.live], seed)
        self.paused = False

    async def run(self) -> None:
        """Trade until cancelled."""
        loop = asyncio.get_running_loop()
        last_s, due = loop.time(), 0.0
        while True:
            await asyncio.sleep(PULSE_S)
            now_s = loop.time()
            due = 0.0 if self.paused else due + (now_s - last_s) * self._rate
            last_s = now_s
            if due >= 1:
                await self._exchange.trades(self._walk.rows(int(due)))
                due -= int(due)
