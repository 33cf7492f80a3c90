"""Facts about paper portfolios: money is Decimal, `n` numbers a portfolio's events from 1."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive


class PortfolioOpened(Event, frozen=True, kw_only=True, tag="paper_opened.v1"):
    """A paper portfolio starts with `cash` units of `currency`. `n` numbers a portfolio's events from 1."""

    portfolio: str
    n: int
    ts_ms: int
    currency: str
    cash: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "opened")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class OrderFilled(Event, frozen=True, kw_only=True, tag="paper_fill.v1"):
    """A simulated order was filled. Cash moves by -+ amount*price - fee, to the last decimal.

    `basis_ref` is the trade id (or `ts_ms` where trades carry none) or the candle's open time that gave
    `market_price`; `price` is that after slippage. `position_amount` is signed (short is negative) after the fill.
    """

    portfolio: str
    n: int
    ts_ms: int
    position_id: str
    signal_id: str
    exchange: str
    symbol: str
    side: Literal["buy", "sell"]
    reason: str
    amount: Decimal
    price: Decimal
    market_price: Decimal
    fee: Decimal
    basis: Literal["trade", "candle"]
    basis_ref: str
    position_amount: Decimal
    position_entry_price: Decimal
    realised_pnl: Decimal
    cash_after: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "fill")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class SignalSkipped(Event, frozen=True, kw_only=True, tag="paper_skip.v1"):
    """A portfolio did not follow a signal; `reason` says why."""

    portfolio: str
    n: int
    ts_ms: int
    signal_id: str
    reason: str

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "skip")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One open position at its mark: `value = amount * mark_price` (negative for a short)."""

    position_id: str
    exchange: str
    symbol: str
    amount: Decimal
    mark_price: Decimal
    value: Decimal


class EquityMarked(Event, frozen=True, kw_only=True, tag="paper_equity.v1"):
    """Equity at a moment: `equity = cash + sum(holding.value)`, exactly."""

    portfolio: str
    n: int
    ts_ms: int
    cash: Decimal
    holdings: list[Holding]
    equity: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "equity")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)
