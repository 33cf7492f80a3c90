"""What the recorded frames say, read without ccxt: each function gives the trades of one decoded frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec


class Traded(NamedTuple):
    """One trade of a frame. `market` is the exchange's own name; `side` is the taker's."""

    market: str
    ts_ms: int
    price: float
    amount: float
    side: str
    trade_id: str


Decoder = Callable[[Any], Iterable[Traded]]


def trades(frames: Iterable[str], decode: Decoder) -> list[Traded]:
    """All trades of some frames, in the order they were sent."""
    return [trade for frame in frames for trade in decode(msgspec.json.decode(frame))]


def binance(event: dict[str, Any]) -> Iterable[Traded]:
    """`trade` and `aggTrade`: `m` says that the buyer was the maker, so the taker sold."""
    if event.get("e") in ("trade", "aggTrade"):
        name = event["t"] if event["e"] == "trade" else event["a"]
        side = "sell" if event["m"] else "buy"
        yield Traded(event["s"], event["T"], float(event["p"]), float(event["q"]), side, str(name))


def bybit(message: dict[str, Any]) -> Iterable[Traded]:
    """`publicTrade.<market>`: `S` is the taker's side."""
    if str(message.get("topic")).startswith("publicTrade."):
        for row in message["data"]:
            yield Traded(row["s"], row["T"], float(row["p"]), float(row["v"]), row["S"].lower(), row["i"])


def okx(message: dict[str, Any]) -> Iterable[Traded]:
    """Channel `trades`: `side` is the taker's."""
    if message["arg"]["channel"] == "trades":
        for row in message.get("data", ()):
            yield Traded(row["instId"], int(row["ts"]), float(row["px"]), float(row["sz"]), row["side"], row["tradeId"])


def coinbase(message: dict[str, Any]) -> Iterable[Traded]:
    """Channel `market_trades`, times as text with microseconds."""
    if message["channel"] == "market_trades":
        for event in message["events"]:
            for row in event["trades"]:
                at = datetime.fromisoformat(row["time"]).astimezone(UTC)
                ts_ms = int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000
                price, amount = float(row["price"]), float(row["size"])
                yield Traded(row["product_id"], ts_ms, price, amount, row["side"].lower(), row["trade_id"])


def kucoin(message: dict[str, Any]) -> Iterable[Traded]:
    """Subject `trade.l3match`, times in nanoseconds."""
    if message.get("subject") == "trade.l3match":
        row = message["data"]
        ts_ms = int(row["time"]) // 1_000_000
        yield Traded(row["symbol"], ts_ms, float(row["price"]), float(row["size"]), row["side"], row["tradeId"])


def kraken_v1(message: Any) -> Iterable[Traded]:
    """Kraken's former protocol: a list of channel number, trades, channel name and pair. Its trades have no id."""
    if isinstance(message, list) and message[-2] == "trade":
        for price, amount, at, side, *_ in message[1]:
            seconds, _, fraction = at.partition(".")
            ts_ms = int(seconds) * 1000 + int(fraction[:3])
            yield Traded(message[-1], ts_ms, float(price), float(amount), {"b": "buy", "s": "sell"}[side], "")
