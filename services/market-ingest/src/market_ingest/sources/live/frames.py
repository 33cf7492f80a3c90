"""Frames that are read here, because ccxt takes most of a trade's time from such a frame to the trade it gives.

A reader takes only what it fully understands. Every other frame is ccxt's, which says what is wrong with it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tocsin_common.decoding import UNREADABLE

Reader = Callable[[str], tuple[str, dict[str, Any]] | None]
"""The exchange's own name of a market and its trade with the values of ccxt's that anybody reads, or None."""


class _BinanceTrade(msgspec.Struct, tag_field="e", tag="trade"):
    """Docs, "Trade Streams"; the names are those of the frame. `m`: the buyer was there first, so the taker sold."""

    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


_binance_trade = msgspec.json.Decoder(_BinanceTrade).decode


def binance(frame: str) -> tuple[str, dict[str, Any]] | None:
    """A frame of Binance's `trade` stream, spot or derivatives: there is one per trade."""
    try:
        told = _binance_trade(frame)
    except UNREADABLE:
        return None
    side = "sell" if told.m else "buy"
    return told.s, {"id": told.t, "timestamp": told.T, "price": told.p, "amount": told.q, "side": side}
