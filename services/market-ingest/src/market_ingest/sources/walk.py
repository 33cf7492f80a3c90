"""How simulated prices move: trends, calm and wild hours, jumps, a common market factor.

Everything is drawn from (seed, symbol, day) or (seed, symbol, minute): any moment can be computed again without the
ones before it, except for the price a day starts at, which is the sum of the days before.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from market_ingest.columns import Candles, Floats, Trades, uncounted

MINUTE_MS, MINUTES = 60_000, 1440
DAY_MS = MINUTE_MS * MINUTES

START_PRICES = {
    "BTC": 60_000.0,
    "ETH": 3_000.0,
    "BNB": 550.0,
    "SOL": 150.0,
    "LTC": 80.0,
    "LINK": 15.0,
    "XRP": 0.6,
    "ADA": 0.45,
    "DOGE": 0.15,
}
OTHER_PRICES = (0.25, 1.2, 7.0, 30.0, 120.0)

SIGMA_MIN, SIGMA_STEP = 0.0005, 0.00015
"""Standard deviation of one minute's return in normal hours: five sizes of symbol."""

HOUR_SIGMA, HOUR_SIGMA_P = (0.5, 1.0, 2.5), (0.4, 0.45, 0.15)
HOUR_TREND, HOUR_TREND_P = (-0.2, 0.0, 0.2), (0.3, 0.4, 0.3)
"""Per minute, in standard deviations: an hour of trend goes 12 of them, noise about 8."""

JUMP_P, JUMP_SIGMAS = 1 / 700, (4.0, 9.0)
MARKET_SHARE = 0.6
"""Correlation with the market factor; the rest of a symbol's noise is its own."""

REVERSION = 0.1
"""Share of the distance to the start price that a day drifts back, so that prices stay in a sensible range."""

NOTIONAL, NOTIONAL_SIGMA = 300.0, 1.2
"""Median and spread (of the logarithm) of a trade's value in the quote currency."""


@dataclass(frozen=True, slots=True)
class Day:
    """One symbol's day: logarithms of the price at its 1441 minute boundaries, each minute's sigma and activity."""

    log_price: Floats
    sigma: Floats
    activity: Floats


class SymbolWalk:
    """The price of one symbol from day 0 on."""

    def __init__(self, seed: int, symbol: str, trades_per_minute: float) -> None:
        self._seed = seed
        self._code = zlib.crc32(symbol.encode())
        self._rate = trades_per_minute
        base = symbol.partition("/")[0]
        self._start = START_PRICES.get(base, OTHER_PRICES[self._code % len(OTHER_PRICES)])
        self._sigma = SIGMA_MIN + SIGMA_STEP * (self._code % 5)
        magnitude = math.floor(math.log10(self._start))
        self._price_decimals = max(0, 5 - magnitude)
        self._amount_decimals = max(0, magnitude + 1)
        self._day_starts = [math.log(self._start)]
        self._newest: tuple[int, Day] | None = None

    def day(self, number: int) -> Day:
        """A day's path; earlier days are computed as needed."""
        if self._newest and self._newest[0] == number:
            return self._newest[1]
        while len(self._day_starts) <= number:
            self._day_starts.append(float(self._draw(len(self._day_starts) - 1).log_price[-1]))
        self._newest = (number, self._draw(number))
        return self._newest[1]

    def trades(self, minute: int) -> Trades:
        """The trades of one minute, counted from day 0; `ts_ms` counts from the beginning of the minute."""
        number, within = divmod(minute, MINUTES)
        day = self.day(number)
        rng = np.random.default_rng((self._seed, self._code, 1, minute))
        count = int(rng.poisson(self._rate * day.activity[within]))
        share = np.arange(1, count + 1) / max(count, 1)
        noise = np.cumsum(rng.standard_normal(count)) * day.sigma[within] / math.sqrt(max(count, 1))
        bridge = noise - share * noise[-1:].sum()
        first, last = day.log_price[within], day.log_price[within + 1]
        price = self._as_prices(first + (last - first) * share + bridge)
        value = NOTIONAL * np.exp(NOTIONAL_SIGMA * rng.standard_normal(count))
        amount = np.maximum(np.round(value / self._start, self._amount_decimals), 10.0**-self._amount_decimals)
        side = np.where(rng.random(count) < 0.5, ord("b"), ord("s")).astype(np.uint8)
        ts_ms = np.sort(rng.integers(0, MINUTE_MS, count))
        ids: list[str | None] = [str(minute * 100_000 + n) for n in range(count)]
        return Trades(ts_ms, price, amount, side, ids)

    def candles(self, number: int) -> Candles:
        """A day in 1m candles, without making its trades; `open_ms` counts from day 0."""
        day = self.day(number)
        rng = np.random.default_rng((self._seed, self._code, 2, number))
        first, last = day.log_price[:-1], day.log_price[1:]
        above, below = np.abs(rng.standard_normal((2, MINUTES))) * day.sigma * 0.5
        value = self._rate * day.activity * NOTIONAL * math.exp(NOTIONAL_SIGMA**2 / 2)
        return Candles(
            (number * MINUTES + np.arange(MINUTES)) * MINUTE_MS,
            self._as_prices(first),
            self._as_prices(np.maximum(first, last) + above),
            self._as_prices(np.minimum(first, last) - below),
            self._as_prices(last),
            np.maximum(np.round(value / self._start, self._amount_decimals), 10.0**-self._amount_decimals),
            uncounted(MINUTES),
        )

    def _as_prices(self, logarithms: Floats) -> Floats:
        prices = np.round(np.exp(logarithms), self._price_decimals)
        return np.maximum(prices, 10.0**-self._price_decimals).astype(np.float64)

    def _draw(self, number: int) -> Day:
        rng = np.random.default_rng((self._seed, self._code, 0, number))
        start = self._day_starts[number]
        wave = np.convolve(rng.standard_normal(MINUTES + 59), np.full(60, 60**-0.5), mode="valid")
        calm = np.repeat(rng.choice(HOUR_SIGMA, 24, p=HOUR_SIGMA_P), 60)
        sigma = self._sigma * calm * np.exp(0.4 * wave)
        own = rng.standard_normal(MINUTES)
        noise = MARKET_SHARE * _market_noise(self._seed, number) + math.sqrt(1 - MARKET_SHARE**2) * own
        trend = np.repeat(rng.choice(HOUR_TREND, 24, p=HOUR_TREND_P), 60)
        jumps = np.where(rng.random(MINUTES) < JUMP_P, rng.uniform(*JUMP_SIGMAS, MINUTES), 0.0)
        jumps *= np.where(rng.random(MINUTES) < 0.5, -1.0, 1.0)
        back = REVERSION * (math.log(self._start) - start) / MINUTES
        returns = sigma * (noise + trend + jumps) + back
        log_price = start + np.concatenate(([0.0], np.cumsum(returns)))
        return Day(log_price, sigma, np.clip(sigma / self._sigma, 0.3, 4.0))


@lru_cache(maxsize=64)
def _market_noise(seed: int, number: int) -> Floats:
    return np.random.default_rng((seed, number)).standard_normal(MINUTES)
