"""Closed candles over REST through ccxt, and ccxt's errors in our words."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from market_ingest.columns import Candles, uncounted
from market_ingest.history.paging import PAGE_ROWS
from market_ingest.sources.live.exchange import in_words
from tocsin_common.errors import Rejected, Retryable, TocsinError

COLUMNS = 6
"""A row of ccxt's fetch_ohlcv: open time, open, high, low, close, volume."""


class Klines:
    """Asks opened ccxt exchanges, which obey their rate limits; whoever opened them closes them.

    `exchange` gives the one of a ccxt id, and raises KeyError for others. `fetch` is a `FetchCandles`.
    """

    def __init__(self, exchange: Callable[[str], Any]) -> None:
        self._exchange = exchange

    async def fetch(self, exchange: str, symbol: str, timeframe: str, since_ms: int, limit: int) -> Candles:
        """Up to `limit` candles that opened at `since_ms` or later, the open one perhaps among them.

        Raises Rejected (no such exchange, symbol or timeframe) and Retryable (rate limit, with the exchange's
        Retry-After; network; an answer that makes no sense).
        """
        try:
            client = self._exchange(exchange)
        except KeyError as error:
            raise Rejected("unknown_exchange", f"{exchange} is not configured") from error
        if timeframe not in (client.timeframes or {}):
            raise Rejected("no_such_timeframe", f"{exchange} has no candles of {timeframe}")
        await know_markets(client)
        try:
            rows = await client.fetch_ohlcv(symbol, timeframe, since_ms, min(limit, page_rows(client, symbol)))
            return _columns(rows)
        except failures() as error:
            raise as_ours(error, client.last_response_headers) from error


async def know_markets(client: Any) -> None:
    """Let an exchange tell its markets, once. Raises Retryable, Rejected."""
    try:
        await client.load_markets()
    except failures() as error:
        raise as_ours(error, client.last_response_headers) from error


def page_rows(client: Any, symbol: str) -> int:
    """What an exchange gives at most, by ccxt's table; asking for more is an error at some. Raises ccxt's BadSymbol."""
    market = client.market(symbol)
    kind = (client.features or {}).get(market["type"]) or {}
    if market.get("contract"):
        kind = kind.get("linear" if market.get("linear") else "inverse") or {}
    return int((kind.get("fetchOHLCV") or {}).get("limit") or PAGE_ROWS)


@cache
def failures() -> tuple[type[Exception], ...]:
    """What asking through ccxt may raise: its own errors, and those of its parsers on an answer that makes no sense."""
    senseless = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
    return (_errors().BaseError, *senseless)


def as_ours(error: Exception, headers: Mapping[str, str] | None) -> TocsinError:
    """An error of ccxt as Rejected (never) or Retryable (later, at the exchange's word if `headers` have one)."""
    theirs = _errors()
    never = {
        theirs.BadSymbol: "unknown_symbol",
        theirs.NotSupported: "not_supported",
        theirs.AuthenticationError: "not_allowed",
        theirs.BadRequest: "bad_request",
    }
    for kind, reason in never.items():
        if isinstance(error, kind):
            return Rejected(reason, in_words(error))
    if isinstance(error, theirs.DDoSProtection | theirs.RateLimitExceeded):
        return Retryable("rate_limited", in_words(error), retry_after_s=_retry_after_s(headers or {}))
    if isinstance(error, theirs.NetworkError):
        return Retryable("network", in_words(error))
    if isinstance(error, theirs.OperationFailed):
        return Retryable("unavailable", in_words(error))
    return Retryable("bad_answer", in_words(error))


def _errors() -> Any:
    """Whoever asked an exchange has imported all of ccxt; nobody else shall, as `known_exchanges` says."""
    return importlib.import_module("ccxt.base.errors")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.isascii() and value.isdigit():
            return float(value)
    return None


def _columns(rows: Sequence[Sequence[Any]]) -> Candles:
    """What is missing in a row becomes NaN, which no check accepts."""
    table = np.array([[np.nan if cell is None else float(cell) for cell in row[:COLUMNS]] for row in rows], np.float64)
    at, first, high, low, close, volume = table.reshape(-1, COLUMNS).T
    open_ms = np.where(np.isfinite(at), at, 0).astype(np.int64)
    return Candles(open_ms, first, high, low, close, volume, uncounted(len(open_ms)))
