"""Messages as market-ingest publishes them."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin_common.events import TradesReceived


def live_trades(exchange: str, symbol: str, trades: Iterable[tuple[int, float, float]]) -> TradesReceived:
    """Trades (ms, price, amount) of an exchange that names neither them nor their sides."""
    ts_ms, price, amount = (list(column) for column in zip(*trades, strict=True))
    return TradesReceived(
        exchange=exchange,
        symbol=symbol,
        source="live",
        cursor=0,
        received_ms=max(ts_ms),
        ts_ms=ts_ms,
        price=price,
        amount=amount,
        side="-" * len(ts_ms),
        trade_id=[None] * len(ts_ms),
    )
