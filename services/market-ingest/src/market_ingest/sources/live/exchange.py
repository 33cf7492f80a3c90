"""ccxt at the edge: opening an exchange from settings, sharing its markets, and its errors in words."""

from __future__ import annotations

import asyncio
import importlib
import re
from typing import Any

from market_ingest.config import ExchangeSettings
from market_ingest.sources.backlog import keep_accounts
from tocsin_common.errors import ConfigError

TRADES_LIMIT = 50_000
"""Trades ccxt keeps per symbol until they are collected. Its 1,000 lose bursts, because what comes first falls out."""

KEEP_ALIVE_MS = 3_000
"""How often ccxt pings; two missing answers end a connection. (Its default for Binance is three minutes.)"""

MAX_REASON_CHARS = 200


async def known_exchanges() -> list[str]:
    """The ids ccxt.pro knows. Importing it takes seconds and 120 MB, which is why it is done in a thread, and late."""
    ccxt = await asyncio.to_thread(importlib.import_module, "ccxt.pro")
    keep_accounts()
    return list(ccxt.exchanges)


def open_exchange(name: str, settings: ExchangeSettings) -> Any:
    """A ccxt.pro exchange with our options, overridden by the configured ones; close it after use.

    Raises ConfigError for an id ccxt.pro does not know, or options it does not take.
    """
    ccxt = importlib.import_module("ccxt.pro")
    if name not in ccxt.exchanges:
        raise ConfigError([f"market_ingest.source.exchanges.{name}: not an exchange of ccxt.pro."])
    ours = {
        "enableRateLimit": True,
        "streaming": {"keepAlive": KEEP_ALIVE_MS},
        "options": {"tradesLimit": TRADES_LIMIT},
    }
    exchange = getattr(ccxt, name)(_merged(ours, settings.options))
    _refuse_what_is_no_json(exchange, ccxt.BadResponse)
    return exchange


def _refuse_what_is_no_json(exchange: Any, refusal: type[Exception]) -> None:
    """Let an instance take half an answer, or a web page, for an error: ccxt's parsers find no rows in it, which would
    mean that nothing was traded."""
    known = exchange.handle_errors

    def handle_errors(code: int, *answered: Any) -> Any:
        handled = known(code, *answered)
        *_, answer, _headers, _body = answered
        if answer is None and 200 <= code < 300:
            raise refusal("the answer is not JSON")
        return handled

    exchange.handle_errors = handle_errors


def spare_what_nobody_reads(exchange: Any) -> None:
    """Let an instance leave its trades without dates in words, costs and fees, which take a third of ccxt's parsing.
    Prices and amounts that came as text stay text."""
    complete = exchange.safe_trade

    def safe_trade(trade: dict[str, Any], market: Any = None) -> dict[str, Any]:
        given = trade.get("price") is not None and trade.get("amount") is not None
        return trade if given else complete(trade, market)

    exchange.safe_trade = safe_trade
    exchange.iso8601 = lambda _timestamp=None: None


def in_words(error: BaseException) -> str:
    """Kind and message on one line, without addresses: configured ones may hold credentials."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    message = re.sub(r"\w+://\S+", "(address)", " ".join(str(error).split()))
    return f"{type(error).__name__}: {message}"[:MAX_REASON_CHARS]


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged
