"""A range of candles from an exchange, page by page: in order, each once, patient with an exchange that is busy.

What exchanges do differently ends here: pages may overlap, hold candles outside the range, the candle still open, or
fewer rows than asked for; before a market was listed they are empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import structlog

from market_ingest.columns import Candles, Instrument
from market_ingest.validate import ACCEPTED, check_candles
from tocsin_common.bus.consume import backoff_s
from tocsin_common.errors import Retryable
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

T = TypeVar("T")

FetchCandles = Callable[[str, str, str, int, int], Awaitable[Candles]]
"""(exchange, symbol, timeframe, since_ms, limit) -> up to `limit` candles that opened at `since_ms` or later, the open
one perhaps among them. Raises Retryable (rate limit, network), Rejected (no such market or timeframe)."""

PAGE_ROWS = 1000
"""What is asked for at a time; exchanges give what they give, 100 to 1500."""

EMPTY_ROWS = 100
"""How many intervals an empty page speaks for: no exchange has smaller pages."""

SETTLED_MS = 10_000
"""An exchange may still change a candle this long after its end, and its clock may differ from ours."""

TRIES = 8
"""How often one page is asked for: with growing pauses that is a minute and a half, or as long as the exchange says."""

OnPause = Callable[[str, float], None]
"""Told of every pause: its reason and its seconds."""


@dataclass(frozen=True, slots=True)
class Key:
    """Candles of one kind."""

    instrument: Instrument
    timeframe: str

    @property
    def length_ms(self) -> int:
        return TIMEFRAME_MS[self.timeframe]

    def floor(self, ts_ms: int) -> int:
        """Open time of the candle that contains a moment."""
        return ts_ms // self.length_ms * self.length_ms


def settled_ms(key: Key, now_ms: int) -> int:
    """End of the newest candle that its exchange will not change any more."""
    return key.floor(now_ms - SETTLED_MS)


def silently(_reason: str, _seconds: float) -> None:
    """A pause nobody wants to hear of."""


async def pages(
    fetch: FetchCandles, key: Key, from_ms: int, to_ms: int, *, on_pause: OnPause = silently, tries: int = TRIES
) -> AsyncIterator[Candles]:
    """The exchange's candles with `from_ms <= open time < to_ms`, oldest first, in pages that are never empty.

    `to_ms` must not be later than `settled_ms`. Raises Rejected, and Retryable when the exchange stays away.
    """
    at_ms = key.floor(from_ms + key.length_ms - 1)
    while at_ms < to_ms:
        ask = partial(fetch, *key.instrument, key.timeframe, at_ms, PAGE_ROWS)
        given = await patiently(ask, key.instrument.exchange, on_pause=on_pause, tries=tries)
        rows = _within(given, key, at_ms, to_ms)
        if len(rows):
            yield rows
            at_ms = int(rows.open_ms[-1]) + key.length_ms
        elif len(given) and int(given.open_ms.min()) >= to_ms:
            return
        else:
            at_ms += EMPTY_ROWS * key.length_ms


async def patiently(
    ask: Callable[[], Awaitable[T]], exchange: str, *, on_pause: OnPause = silently, tries: int = TRIES
) -> T:
    """Ask until there is an answer, with the pauses the exchange wants. Raises Rejected, and Retryable in the end."""
    for attempt in range(1, tries + 1):
        try:
            return await ask()
        except Retryable as error:
            if attempt == tries:
                raise
            wait_s = backoff_s(attempt) if error.retry_after_s is None else error.retry_after_s
            on_pause(error.reason, wait_s)
            log.info("waiting for the exchange", exchange=exchange, error=str(error), wait_s=wait_s)
            await asyncio.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _within(candles: Candles, key: Key, from_ms: int, to_ms: int) -> Candles:
    """Possible candles of the range, each once, oldest first."""
    codes = check_candles(candles, key.length_ms, to_ms)
    wanted = (codes == ACCEPTED) & (candles.open_ms >= from_ms) & (candles.open_ms < to_ms)
    _, first = np.unique(candles.open_ms[wanted], return_index=True)
    return candles.rows(np.flatnonzero(wanted)[first])
