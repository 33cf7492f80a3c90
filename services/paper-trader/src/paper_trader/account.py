"""A paper portfolio: which signals it follows, how much it buys, what it holds and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from paper_trader.life import place_of
from tocsin_common.documents import Portfolio
from tocsin_common.events import EquityMarked, Holding, OrderFilled, PortfolioOpened, SignalRaised, SignalSkipped
from tocsin_common.ids import derive
from tocsin_trading.instruments import parse_symbol
from tocsin_trading.ledger import Ledger, affordable, worsened
from tocsin_trading.money import ZERO, add, market_decimal, multiply, negate, quotient, to_amount


@dataclass(frozen=True, slots=True)
class Quote:
    """The price an order meets: when, how much, and the trade or candle that gave it."""

    ts_ms: int
    price: Decimal
    basis: Literal["trade", "candle"]
    reference: str


@dataclass(frozen=True, slots=True)
class Held:
    """Why a position is there."""

    position_id: str
    signal: SignalRaised
    signal_id: str


@dataclass(slots=True)
class Account:
    """The state of one portfolio. `n` numbers its events; `due_ms` is the hour at which it will be marked next."""

    portfolio: Portfolio
    ledger: Ledger
    n: int = 0
    held: dict[str, Held] = field(default_factory=dict)
    marked_tick: int = -1
    due_ms: int | None = None

    @classmethod
    def of(cls, portfolio: Portfolio) -> Account:
        return cls(portfolio, Ledger(portfolio.cash))

    @property
    def name(self) -> str:
        return self.portfolio.portfolio_id

    @property
    def is_open(self) -> bool:
        """Whether its first event is out."""
        return self.n > 0

    def open(self, ts_ms: int) -> PortfolioOpened:
        currency, cash = self.portfolio.currency, self.portfolio.cash
        return PortfolioOpened(portfolio=self.name, n=self._next(), ts_ms=ts_ms, currency=currency, cash=cash)

    def skip(self, ts_ms: int, signal_id: str, reason: str) -> SignalSkipped:
        return SignalSkipped(portfolio=self.name, n=self._next(), ts_ms=ts_ms, signal_id=signal_id, reason=reason)

    def refusal(self, signal: SignalRaised) -> str | None:
        """Why this portfolio does not follow a signal, as far as its confirmation tells; None when it does."""
        portfolio = self.portfolio
        if not portfolio.enabled:
            return "portfolio_disabled"
        if portfolio.strategies and signal.strategy not in portfolio.strategies:
            return "strategy_not_followed"
        if signal.confidence < portfolio.min_confidence:
            return "below_min_confidence"
        symbol = parse_symbol(signal.symbol)
        if symbol.quote != portfolio.currency or not symbol.pays_in_quote:
            return "quote_currency"
        return None

    def size(self, signal: SignalRaised, market: Decimal, prices: Mapping[str, Decimal]) -> Decimal | str:
        """The signed amount to enter with at a market price, or the reason not to enter; `prices` of all it holds."""
        rules, long = self.portfolio, signal.side == "long"
        equity = self.ledger.equity(prices)
        if equity <= 0:
            return "insufficient_cash"
        price = worsened(market, rules.slippage_rate, buying=long)
        distance = add(price, negate(market_decimal(signal.stop))).copy_abs()
        at_risk = to_amount(quotient(multiply(equity, rules.risk_fraction), distance))
        amount = min(at_risk, affordable(multiply(equity, rules.max_position_fraction), price))
        if not amount:
            return "too_small"
        if not long:
            return negate(amount)
        amount = min(amount, affordable(self.ledger.cash, multiply(price, add(Decimal(1), rules.fee_rate))))
        return amount or "insufficient_cash"

    def enter(self, signal: SignalRaised, signal_id: str, amount: Decimal, quote: Quote) -> OrderFilled:
        """Open a position of a signed amount."""
        held = Held(derive("position", self.name, signal_id), signal, signal_id)
        self.held[place_of(signal.exchange, signal.symbol)] = held
        return self._fill(held, amount, "entry", quote)

    def leave(self, place: str, reason: str, quote: Quote) -> OrderFilled:
        """Close the position at a place."""
        amount = negate(self.ledger.positions[place].amount)
        return self._fill(self.held.pop(place), amount, reason, quote)

    def mark(self, ts_ms: int, tick: int, prices: Mapping[str, Decimal]) -> EquityMarked:
        """Value everything held; `prices` by place."""
        self.marked_tick, self.due_ms = tick, None
        values = self.ledger.values(prices)
        holdings = [
            Holding(
                position_id=held.position_id,
                exchange=held.signal.exchange,
                symbol=held.signal.symbol,
                amount=self.ledger.positions[place].amount,
                mark_price=prices[place],
                value=values[place],
            )
            for place, held in sorted(self.held.items(), key=lambda item: item[0])
        ]
        equity = add(self.ledger.cash, *(holding.value for holding in holdings))
        cash = self.ledger.cash
        return EquityMarked(
            portfolio=self.name, n=self._next(), ts_ms=ts_ms, cash=cash, holdings=holdings, equity=equity
        )

    def _fill(self, held: Held, amount: Decimal, reason: str, quote: Quote) -> OrderFilled:
        signal, buying = held.signal, amount > 0
        place = place_of(signal.exchange, signal.symbol)
        price = worsened(quote.price, self.portfolio.slippage_rate, buying=buying)
        fee = multiply(multiply(amount.copy_abs(), price), self.portfolio.fee_rate)
        before = self.ledger.positions.get(place)
        entry_price = before.entry_price if before else price
        realised = self.ledger.fill(place, amount, price, fee)
        after = self.ledger.positions.get(place)
        return OrderFilled(
            portfolio=self.name,
            n=self._next(),
            ts_ms=quote.ts_ms,
            position_id=held.position_id,
            signal_id=held.signal_id,
            exchange=signal.exchange,
            symbol=signal.symbol,
            side="buy" if buying else "sell",
            reason=reason,
            amount=amount.copy_abs(),
            price=price,
            market_price=quote.price,
            fee=fee,
            basis=quote.basis,
            basis_ref=quote.reference,
            position_amount=after.amount if after else ZERO,
            position_entry_price=entry_price,
            realised_pnl=realised,
            cash_after=self.ledger.cash,
        )

    def _next(self) -> int:
        self.n += 1
        return self.n
