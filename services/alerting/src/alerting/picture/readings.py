"""Indicator lines for a picture, from what signal-engine publishes of every candle (if it is told to publish any)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.picture.chart import Floats, Market
from alerting.words.wording import words
from tocsin_common import subjects
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import TocsinError
from tocsin_common.events import IndicatorsComputed, SignalRaised
from tocsin_common.streams import INDICATORS

LINES_MAX = 4
"""With more, candles cannot be seen any more."""

PRICES = re.compile(
    r"(sma|ema|wma|hma|kama|bollinger_upper|bollinger_lower|keltner_upper|keltner_lower|supertrend|ichimoku_line)(_[\d.]+)+"
    r"|vwap_session|vwap_anchored"
)
"""Columns that are prices from candle to candle: others have a scale of their own, or jump."""


async def readings(
    bus: Bus, signal: SignalRaised | Market, *, since_ms: int, wait_s: float
) -> list[IndicatorsComputed]:
    """The indicators of a signal's market and timeframe, stored since then; none where they cannot be had in time."""
    subject = subjects.indicators(signal.exchange, signal.symbol, signal.timeframe)
    try:
        async with asyncio.timeout(wait_s):
            page = await bus.page(INDICATORS, subject, since_ms=max(since_ms, 1))
        events = [message.event() for message in page]
    except (TocsinError, TimeoutError):
        return []
    return [event for event in events if isinstance(event, IndicatorsComputed)]


def lines(found: Sequence[IndicatorsComputed], open_ms: NDArray[np.int64]) -> Mapping[str, Floats]:
    """The first columns that are prices, by the names people use: a value for each candle, NaN where there is none."""
    names = sorted({name for event in found for name in event.values if PRICES.fullmatch(name)})[:LINES_MAX]
    values = {event.open_ms: event.values for event in found}
    rows = [values.get(opened_ms, {}) for opened_ms in open_ms.tolist()]
    columns = {words(name): np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}
    return {name: column for name, column in columns.items() if np.isfinite(column).sum() > 1}
