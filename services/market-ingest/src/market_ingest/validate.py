"""What is let in: prices and amounts that can be, times that can be, symbols that are symbols.

Bad rows are dropped and counted under their reason; they never stop a feed.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import structlog
from numpy.typing import NDArray

from market_ingest.columns import Candles, Floats, Instrument, Ints
from tocsin_trading.instruments import parse_symbol

log = structlog.get_logger()

BITCOIN_GENESIS_MS = 1_230_768_000_000
"""2009-01-01: there was no market before."""

END_OF_TIME_MS = 2**62
"""Later than anything, and still far from overflowing."""

AHEAD_MS = 3_600_000
"""A time further ahead of the clock than this is a mistake, not clock skew."""

BURST_S = 10.0
"""Rejections of one reason within this time are one line in the log."""

ACCEPTED, BAD_PRICE, BAD_AMOUNT, BAD_TIME, BAD_SYMBOL, DUPLICATE = range(6)
REASONS = ("accepted", "bad_price", "bad_amount", "bad_time", "bad_symbol", "duplicate")
"""Metric labels, by code."""

Codes = NDArray[np.uint8]

_EXCHANGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_trades(ts_ms: Ints, price: Floats, amount: Floats, now_ms: int) -> Codes:
    """A code of REASONS for every trade. `now_ms` is the clock of the source."""
    codes = np.zeros(len(ts_ms), np.uint8)
    if _all_within(ts_ms, BITCOIN_GENESIS_MS, now_ms + AHEAD_MS) and _all_positive(price) and _all_positive(amount):
        return codes
    codes[~_possible_time(ts_ms, now_ms)] = BAD_TIME
    codes[~_positive(amount)] = BAD_AMOUNT
    codes[~_positive(price)] = BAD_PRICE
    return codes


def check_candles(candles: Candles, lengths_ms: Ints | int, now_ms: int) -> Codes:
    """A code of REASONS for every candle; `lengths_ms` are the lengths of their timeframes."""
    codes = np.zeros(len(candles), np.uint8)
    end_ms = candles.open_ms + lengths_ms
    codes[~_possible_time(end_ms, now_ms) | (candles.open_ms % lengths_ms != 0)] = BAD_TIME
    codes[~(np.isfinite(candles.volume) & (candles.volume >= 0.0))] = BAD_AMOUNT
    possible = _positive(candles.low) & np.isfinite(candles.high)
    for column in (candles.open, candles.close):
        possible &= (candles.low <= column) & (column <= candles.high)
    codes[~possible] = BAD_PRICE
    return codes


@lru_cache(maxsize=65536)
def check_instrument(instrument: Instrument) -> str | None:
    """What is wrong with the names of an instrument, or None."""
    if not _EXCHANGE.fullmatch(instrument.exchange):
        return f"{instrument.exchange[:80]!r} is not an exchange id"
    try:
        parse_symbol(instrument.symbol)
    except ValueError as error:
        return str(error)
    return None


class BurstLog:
    """Logs the first rejection of a reason, then what came with it, at most once per BURST_S."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def rejected(self, reason: str, rows: int, **where: str) -> None:
        """Note that `rows` rows were rejected."""
        self._since[reason] = self._since.get(reason, 0) + rows
        if self._now() - self._last.get(reason, -BURST_S) >= BURST_S:
            self._last[reason] = self._now()
            log.warning("rejected", reason=reason, rows=self._since.pop(reason), **where)


def _all_within(column: Ints | Floats, least: float, most: float) -> bool:
    """By its extremes, in a quarter of the time that a look at every value takes; where one is NaN both are."""
    return not len(column) or bool(least <= column.min() and column.max() <= most)


def _all_positive(column: Floats) -> bool:
    return _all_within(column, math.ulp(0.0), sys.float_info.max)


def _positive(column: Floats) -> NDArray[np.bool_]:
    return np.isfinite(column) & (column > 0.0)


def _possible_time(ts_ms: Ints, now_ms: int) -> NDArray[np.bool_]:
    return (ts_ms >= BITCOIN_GENESIS_MS) & (ts_ms <= now_ms + AHEAD_MS)
