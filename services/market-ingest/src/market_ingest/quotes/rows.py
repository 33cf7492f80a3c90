"""From what ccxt gives to events: unified rows in, events or a reason for refusing out. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from market_ingest.validate import AHEAD_MS, BITCOIN_GENESIS_MS
from tocsin_common.events import FundingChanged, QuoteMoved, TickerUpdated

Kind = Literal["quotes", "funding", "tickers"]
Told = QuoteMoved | FundingChanged | TickerUpdated
Row = Mapping[str, Any]

BAD_PRICE, BAD_TIME, CROSSED, BAD_RATE = "bad_price", "bad_time", "crossed", "bad_rate"
RATE_MAX = 1.0
"""A funding rate of 100 % per interval: no venue's limit comes near, so anything beyond is garbage."""


class Refused(ValueError):
    """A row that cannot be true; its text is the reason, and a metric label."""


def quote(exchange: str, row: Row, received_ms: int) -> QuoteMoved:
    """A ccxt ticker with bid and ask. Raises Refused."""
    bid, ask = _price(row, "bid"), _price(row, "ask")
    if bid >= ask:
        raise Refused(CROSSED)
    return QuoteMoved(
        exchange=exchange,
        symbol=str(row["symbol"]),
        ts_ms=_time(row, received_ms),
        received_ms=received_ms,
        bid=bid,
        bid_amount=_optional(row, "bidVolume"),
        ask=ask,
        ask_amount=_optional(row, "askVolume"),
    )


def funding(exchange: str, row: Row, received_ms: int) -> FundingChanged:
    """A ccxt funding rate. Raises Refused."""
    rate = _number(row, "fundingRate")
    if rate is None or abs(rate) > RATE_MAX:
        raise Refused(BAD_RATE)
    due_ms = row.get("fundingTimestamp") or row.get("nextFundingTimestamp")
    return FundingChanged(
        exchange=exchange,
        symbol=str(row["symbol"]),
        ts_ms=_time(row, received_ms),
        received_ms=received_ms,
        rate=rate,
        due_ms=None if due_ms is None else int(due_ms),
        mark_price=_optional(row, "markPrice"),
    )


def ticker(exchange: str, row: Row, received_ms: int) -> TickerUpdated:
    """A ccxt ticker. Raises Refused."""
    percent = _number(row, "percentage")
    return TickerUpdated(
        exchange=exchange,
        symbol=str(row["symbol"]),
        ts_ms=_time(row, received_ms),
        received_ms=received_ms,
        last=_price(row, "last"),
        high=_optional(row, "high"),
        low=_optional(row, "low"),
        change=None if percent is None else round(percent / 100, 12),
        base_volume=_optional(row, "baseVolume"),
        quote_volume=_optional(row, "quoteVolume"),
    )


NORMALISED: Mapping[Kind, Callable[[str, Row, int], Told]] = {"quotes": quote, "funding": funding, "tickers": ticker}


def _number(row: Row, name: str) -> float | None:
    """A finite number, or None for whatever else is there."""
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _price(row: Row, name: str) -> float:
    value = _number(row, name)
    if value is None or value <= 0:
        raise Refused(BAD_PRICE)
    return value


def _optional(row: Row, name: str) -> float | None:
    """What may be missing; a negative amount or price counts as missing."""
    value = _number(row, name)
    return None if value is None or value < 0 else value


def _time(row: Row, received_ms: int) -> int:
    """The exchange's time, ours where it gives none."""
    ts_ms = _number(row, "timestamp")
    if ts_ms is None:
        return received_ms
    if not BITCOIN_GENESIS_MS <= ts_ms <= received_ms + AHEAD_MS:
        raise Refused(BAD_TIME)
    return int(ts_ms)
