"""One live trade as the feed handles it, and how ccxt's trades become such rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from market_ingest.columns import Instrument
from market_ingest.sources.chunk import LiveTrades
from market_ingest.sources.live.venues import Venue
from market_ingest.validate import (
    AHEAD_MS,
    BAD_AMOUNT,
    BAD_PRICE,
    BAD_TIME,
    BITCOIN_GENESIS_MS,
    REASONS,
)

BAD_ID = "bad_id"

_SIDES = {"buy": ord("b"), "sell": ord("s")}


class Row(NamedTuple):
    """One trade. `order` is the number in its id, or its time where ids have no order; equal times keep the order of
    arrival. `parts`: for how many of the exchange's trades it stands, itself the last. `received_ms`: when it arrived
    live; None: it was fetched. `refused`: why it may not be published (it counts for continuity all the same).
    """

    order: int
    parts: int
    ts_ms: int
    price: float
    amount: float
    side: int
    trade_id: str | None
    received_ms: int | None = None
    refused: str | None = None


def row_of(trade: Mapping[str, Any], venue: Venue, now_ms: int, *, live: bool) -> Row:
    """A trade as ccxt gives it; any of its values may be missing or absurd."""
    ts_ms, name = int(trade.get("timestamp") or 0), trade.get("id")
    trade_id = None if name is None else str(name)
    price, amount = _number(trade.get("price")), _number(trade.get("amount"))
    order, parts = ts_ms, 1
    refused = _refusal(ts_ms, price, amount, now_ms)
    if venue.ids != "opaque":
        if trade_id is not None and trade_id.isascii() and trade_id.isdigit():
            order, parts = int(trade_id), _parts(trade, venue)
        else:
            order, refused = 0, BAD_ID
    side = _SIDES.get(str(trade.get("side")), ord("-"))
    return Row(order, parts, ts_ms, price, amount, side, trade_id, now_ms if live else None, refused)


def together(instrument: Instrument, rows: Sequence[Row], received_ms: int, *, repaired: bool) -> LiveTrades:
    """Rows as the core takes them, in their order."""
    _, _, ts_ms, price, amount, side, trade_id, _, _ = map(list, zip(*rows, strict=True))
    return LiveTrades(instrument, ts_ms, price, amount, bytes(side).decode(), trade_id, received_ms, repaired)


def _parts(trade: Mapping[str, Any], venue: Venue) -> int:
    """For how many trades a trade stands."""
    if not venue.counts:
        return 1
    count = str((trade.get("info") or {}).get("count") or 1)
    return max(1, int(count)) if count.isdigit() else 1


def _refusal(ts_ms: int, price: float, amount: float, now_ms: int) -> str | None:
    if not (math.isfinite(price) and price > 0.0):
        return REASONS[BAD_PRICE]
    if not (math.isfinite(amount) and amount > 0.0):
        return REASONS[BAD_AMOUNT]
    return None if BITCOIN_GENESIS_MS <= ts_ms <= now_ms + AHEAD_MS else REASONS[BAD_TIME]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
