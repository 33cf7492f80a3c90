"""What replicas of market-ingest share: the instruments, by partition."""

from __future__ import annotations

from tocsin_common.events import CandlesClosed, Event, TradesReceived
from tocsin_common.partitions.ownership import Shared
from tocsin_common.streams import CANDLES, TRADES
from tocsin_common.subjects import partition_of


def partition_of_event(event: Event) -> int | None:
    """The partition of trades and candles; whoever has other news may store them."""
    if isinstance(event, TradesReceived | CandlesClosed):
        return partition_of(event.exchange, event.symbol)
    return None


MARKET_INGEST = Shared("market-ingest", (TRADES, CANDLES), partition_of_event)
