"""Which markets of an exchange are watched: listed by name, by pattern, or the largest by volume. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from market_ingest.config import ExchangeSettings, is_pattern


def select(settings: ExchangeSettings, markets: Mapping[str, Any], volumes: Mapping[str, float]) -> list[str]:
    """The symbols to watch, in a stable order.

    `markets` as ccxt describes them, `volumes`: traded in 24 hours, in the quote currency. Named symbols are always
    among them; `top` limits those that patterns find. A market that does not trade is no market.
    """
    named = [symbol for symbol in settings.symbols if not is_pattern(symbol)]
    patterns = [symbol for symbol in settings.symbols if is_pattern(symbol)]
    trading = [symbol for symbol, market in markets.items() if market.get("active") is not False]
    found = [symbol for symbol in trading if any(fnmatchcase(symbol, pattern) for pattern in patterns)]
    found.sort(key=lambda symbol: (-volumes.get(symbol, 0.0), symbol))
    wanted = found if settings.top is None else found[: settings.top]
    return [*(symbol for symbol in named if symbol in set(trading)), *(one for one in wanted if one not in set(named))]


def quote_volumes(tickers: Mapping[str, Any]) -> dict[str, float]:
    """Volume in 24 hours per symbol, in the quote currency."""
    return {symbol: float(one.get("quoteVolume") or 0.0) for symbol, one in tickers.items()}
