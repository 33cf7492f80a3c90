"""A ledger: cash and positions, moved only by fills, exact to the last decimal.

The law it keeps: cash + sum of (amount * price paid) of what is open = cash at the start + realised profit - fees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tocsin_trading.money import ZERO, add, multiply, negate, quotient, to_amount, to_fill_price, total


@dataclass(slots=True)
class Position:
    """An open amount (negative: short) and its cost, the signed value at which it was entered, without fees."""

    amount: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def entry_price(self) -> Decimal:
        """The average price of what is open; exact with a single entry, else cut to 40 digits."""
        return quotient(self.cost, self.amount) if self.amount else ZERO


@dataclass(slots=True)
class Ledger:
    """Cash, and the open positions by instrument."""

    cash: Decimal
    positions: dict[str, Position] = field(default_factory=dict)

    def fill(self, instrument: str, amount: Decimal, price: Decimal, fee: Decimal) -> Decimal:
        """Buy (`amount` > 0) or sell (< 0) and pay the fee; returns the profit realised, before fees.

        A fill may open, add to, reduce, close or turn a position around.
        """
        position = self.positions.setdefault(instrument, Position())
        self.cash = add(self.cash, negate(multiply(amount, price)), negate(fee))
        closed = _closed_amount(position.amount, amount)
        released = _released_cost(position, closed)
        opened = add(amount, closed)
        position.amount = add(position.amount, amount)
        position.cost = add(position.cost, negate(released), multiply(opened, price))
        if not position.amount:
            del self.positions[instrument]
        return add(multiply(closed, price), negate(released))

    def values(self, prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """The value of every position at the given prices (negative for a short)."""
        return {name: multiply(position.amount, prices[name]) for name, position in self.positions.items()}

    def equity(self, prices: Mapping[str, Decimal]) -> Decimal:
        """Cash plus the value of every position, exactly."""
        return add(self.cash, total(self.values(prices).values()))


def worsened(price: Decimal, rate: Decimal, *, buying: bool) -> Decimal:
    """The price of a fill: the market price moved against the trader by a slippage rate."""
    return to_fill_price(multiply(price, add(Decimal(1), rate if buying else negate(rate))), buying=buying)


def affordable(budget: Decimal, price: Decimal) -> Decimal:
    """The largest amount (in amount steps) that costs at most `budget` at `price`; 0 without a budget."""
    return to_amount(quotient(budget, price)) if budget > 0 else ZERO


def _closed_amount(open_amount: Decimal, traded: Decimal) -> Decimal:
    """How much of the open amount a trade closes, with the sign of the open amount."""
    if (open_amount > 0) == (traded > 0) or not open_amount:
        return ZERO
    return open_amount if traded.copy_abs() >= open_amount.copy_abs() else negate(traded)


def _released_cost(position: Position, closed: Decimal) -> Decimal:
    """The cost of the part that is closed; closing everything releases exactly what is left."""
    if not closed:
        return ZERO
    if closed == position.amount:
        return position.cost
    return quotient(multiply(position.cost, closed), position.amount)
