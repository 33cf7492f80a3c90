"""What alerting is tested with: signals, and the moment they speak of."""

from __future__ import annotations

from typing import Any

from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

PRICE_RULE = {
    "kind": "price",
    "rule_id": "high",
    "name": "High",
    "subscribers": ["me"],
    "exchange": "binance",
    "symbol": "BTC/USDT",
    "level": 100_000,
}
"""A rule as people write it."""

CONFIRMED_MS = 1_723_165_200_000
"""2024-08-09 01:00 UTC, a Friday."""


def a_signal(confirmed_ms: int = CONFIRMED_MS, **given: Any) -> SignalRaised:
    """A long one of EMA cross on BTC/USDT, but for what is given. Its candle closed at `confirmed_ms`, and it is good
    for ten more."""
    length_ms = TIMEFRAME_MS[given.setdefault("timeframe", "1h")]
    usual: dict[str, Any] = {
        "strategy": "ema_cross",
        "strategy_version": "1",
        "params_hash": "p",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "candle_open_ms": confirmed_ms - length_ms,
        "side": "long",
        "confidence": 70,
        "entry": 100.0,
        "stop": 90.0,
        "targets": [110.0, 120.0],
        "expires_ms": confirmed_ms + 10 * length_ms,
        "reasons": ["fast average above slow one"],
    }
    return SignalRaised(confirmed_ms=confirmed_ms, **(usual | given))
