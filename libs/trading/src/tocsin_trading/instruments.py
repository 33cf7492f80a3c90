"""Instruments: what a ccxt unified symbol says about a market.

Spot is `BASE/QUOTE`, a perpetual `BASE/QUOTE:SETTLE`, a dated future `BASE/QUOTE:SETTLE-YYMMDD`. Options are not
traded here and are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["spot", "linear", "inverse", "quanto"]

MAX_SYMBOL_CHARS = 80
"""Far above the longest symbol any exchange lists; keeps nonsense out of subjects."""

_CURRENCY = r"[^\s/:\x00-\x1f\x7f]+"
_SYMBOL = re.compile(rf"(?P<base>{_CURRENCY})/(?P<quote>{_CURRENCY})(:(?P<settle>[^\s/:-]+)(-(?P<expiry>\d{{6}}))?)?")
_MONTHS = range(1, 13)
_DAYS = range(1, 32)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A parsed symbol. `settle` None: spot. `expiry` is `YYMMDD`, None without a date."""

    base: str
    quote: str
    settle: str | None = None
    expiry: str | None = None

    @property
    def kind(self) -> Kind:
        """`linear` pays profit in the quote currency, `inverse` in the base, `quanto` in a third one."""
        if self.settle is None:
            return "spot"
        if self.settle == self.quote:
            return "linear"
        return "inverse" if self.settle == self.base else "quanto"

    @property
    def pays_in_quote(self) -> bool:
        """Whether profit is amount times price difference, in the quote currency."""
        return self.kind in ("spot", "linear")


@lru_cache(maxsize=65536)
def parse_symbol(symbol: str) -> Symbol:
    """Parse a ccxt unified symbol. Raises ValueError, saying what is wrong, for anything else."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None or len(symbol) > MAX_SYMBOL_CHARS:
        raise ValueError(
            f"{symbol[:MAX_SYMBOL_CHARS]!r} is not BASE/QUOTE, BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD"
        )
    parsed = Symbol(**match.groupdict())
    if parsed.base == parsed.quote:
        raise ValueError(f"{symbol!r} quotes {parsed.base} in itself")
    if parsed.expiry and not (int(parsed.expiry[2:4]) in _MONTHS and int(parsed.expiry[4:]) in _DAYS):
        raise ValueError(f"{symbol!r} expires on a day that does not exist")
    return parsed
