"""What is listed: a spot market with the steps its prices and amounts move in."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass
class Market:
    """A spot market. `symbol` is ccxt unified; `live` is False from the moment it is delisted."""

    symbol: str
    tick: Decimal = Decimal("0.01")
    step: Decimal = Decimal("0.00001")
    live: bool = True

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2]


def plain(number: Decimal) -> str:
    """A number without exponent and without trailing zeros, as OKX and Bybit print amounts."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
