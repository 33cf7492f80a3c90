"""Questions about the market, answered by market-ingest."""

from __future__ import annotations

import msgspec

from tocsin_common.events import Origin
from tocsin_common.events.event import MAX_COLUMN, require_same_length
from tocsin_common.requests.endpoint import Endpoint, Request


class HistoryRequest(Request, frozen=True, kw_only=True):
    """Closed candles of one instrument and timeframe that opened at `from_ms <= t < to_ms` (UTC milliseconds)."""

    exchange: str
    symbol: str
    timeframe: str
    from_ms: int
    to_ms: int
    limit: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.from_ms < self.to_ms:
            raise ValueError(f"from_ms {self.from_ms} and to_ms {self.to_ms} are no range of time")
        if not 1 <= self.limit <= MAX_COLUMN:
            raise ValueError(f"limit {self.limit} is not between 1 and {MAX_COLUMN}")


class HistoryReply(msgspec.Struct, frozen=True, kw_only=True):
    """A page of candles, oldest first, each open time once, each in its newest revision; equally long columns.

    `origin` and `revision` are as on the stream; what the stream does not hold comes from the exchange, as `history`.
    `next_ms`: the `from_ms` of the next page; None: this page reaches to the end of the range.
    """

    exchange: str
    symbol: str
    timeframe: str
    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    origin: list[Origin]
    revision: list[int]
    next_ms: int | None = None

    def __post_init__(self) -> None:
        if self.open_ms:
            prices = (self.open, self.high, self.low, self.close, self.volume)
            require_same_length(self.open_ms, *prices, self.origin, self.revision)


HISTORY = Endpoint("market.history", "market-ingest", HistoryRequest, HistoryReply)
