"""What exchanges tell beside trades: the best bid and ask, the funding of perpetuals, the last 24 hours."""

from __future__ import annotations

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive


class QuoteMoved(Event, frozen=True, kw_only=True, tag="quote.v1"):
    """The best bid and ask of an instrument, as last seen: moves that follow quickly are told as one.

    `ts_ms` is the exchange's time, or ours where the exchange gives none. Amounts are in the instrument's own unit.
    """

    exchange: str
    symbol: str
    ts_ms: int
    received_ms: int
    bid: float
    bid_amount: float | None
    ask: float
    ask_amount: float | None

    @property
    def subject(self) -> str:
        return subjects.quote(self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        sides = (self.bid, self.bid_amount, self.ask, self.ask_amount)
        return derive("quote", self.exchange, self.symbol, self.ts_ms, *sides)


class FundingChanged(Event, frozen=True, kw_only=True, tag="funding.v1"):
    """What holding a perpetual costs: `rate` per funding interval (0.0001: longs pay shorts 0.01 %), due at `due_ms`.

    `mark_price` is what positions are valued at.
    """

    exchange: str
    symbol: str
    ts_ms: int
    received_ms: int
    rate: float
    due_ms: int | None
    mark_price: float | None

    @property
    def subject(self) -> str:
        return subjects.funding(self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        return derive("funding", self.exchange, self.symbol, self.ts_ms, self.rate, self.due_ms, self.mark_price)


class TickerUpdated(Event, frozen=True, kw_only=True, tag="ticker.v1"):
    """The exchange's own summary of an instrument's last 24 hours. `change` is a fraction: 0.05 is 5 % up."""

    exchange: str
    symbol: str
    ts_ms: int
    received_ms: int
    last: float
    high: float | None
    low: float | None
    change: float | None
    base_volume: float | None
    quote_volume: float | None

    @property
    def subject(self) -> str:
        return subjects.ticker(self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        return derive("ticker", self.exchange, self.symbol, self.ts_ms, self.last, self.base_volume)
