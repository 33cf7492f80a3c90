"""Money is Decimal, and its arithmetic is exact: an operation that would have to round raises `decimal.Inexact`.

The rules: a market price (float64) becomes the Decimal of its shortest decimal text; the price of a fill has at most
PRICE_DIGITS significant digits, rounded against the trader; amounts are rounded towards zero to AMOUNT_DECIMALS; cash
is never rounded, it moves by exactly amount * price and fee.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

AMOUNT_DECIMALS = 8
AMOUNT_STEP = Decimal(1).scaleb(-AMOUNT_DECIMALS)
"""The smallest amount: eight decimals, the finest step of the large exchanges."""

PRICE_DIGITS = 12
"""More digits than any exchange quotes, and few enough to read."""

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""For everything that touches cash. A product of 8 decimals and a 17-digit price fits several times over."""

ROUNDING = Context(prec=40, rounding=ROUND_DOWN, traps=[InvalidOperation, DivisionByZero, Overflow])
"""For sizing, where a quotient has to be cut; never for cash."""

_BUYING = Context(prec=PRICE_DIGITS, rounding=ROUND_CEILING)
_SELLING = Context(prec=PRICE_DIGITS, rounding=ROUND_FLOOR)

ZERO = Decimal(0)


def market_decimal(value: float) -> Decimal:
    """The Decimal of a market price: the shortest text that reads back as the same float64."""
    return Decimal(repr(float(value)))


def to_fill_price(price: Decimal, *, buying: bool) -> Decimal:
    """Round a price against the trader: up for a buyer, down for a seller."""
    return (_BUYING if buying else _SELLING).plus(price)


def to_amount(quantity: Decimal) -> Decimal:
    """Round a quantity towards zero to the amount step."""
    return quantity.quantize(AMOUNT_STEP, context=ROUNDING)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """The exact product."""
    return EXACT.multiply(left, right)


def negate(value: Decimal) -> Decimal:
    """The exact negative: the minus operator would round to the thread's context."""
    return value.copy_negate()


def add(*terms: Decimal) -> Decimal:
    """The exact sum."""
    return total(terms)


def total(terms: Iterable[Decimal]) -> Decimal:
    """The exact sum; 0 of nothing."""
    result = ZERO
    for term in terms:
        result = EXACT.add(result, term)
    return result


def quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """The quotient cut to 40 digits. Raises DivisionByZero or InvalidOperation."""
    return ROUNDING.divide(dividend, divisor)
