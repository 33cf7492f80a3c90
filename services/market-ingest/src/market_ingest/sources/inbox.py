"""Where live trades wait: filled by the feeds, emptied into chunks. Bounded, checked, and free of repetitions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from market_ingest.columns import Floats, Instrument, TradeRows, Trades
from market_ingest.sources.chunk import Chunk
from market_ingest.validate import ACCEPTED, REASONS, check_trades
from tocsin_common.events import FeedChanged, TradesReceived

MAX_WAITING = 200_000
"""Trades that wait while nothing can be published; more are dropped, counted, and leave a gap."""

MAX_IDS = 20_000
"""Newest trade ids remembered per instrument: far more than an exchange repeats after a reconnect."""

UNKNOWN_SYMBOL, OVERFLOW, MALFORMED = "unknown_symbol", "overflow", "malformed"

_SIDES = {"buy": ord("b"), "sell": ord("s")}

Row = Mapping[str, Any]
"""A trade as ccxt gives it: `timestamp`, `price`, `amount`, `side`, `id`, each possibly None."""


class Inbox:
    """Trades and feed changes since the last chunk."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.arrived = asyncio.Event()
        self._waiting: dict[Instrument, list[Row]] = {}
        self._size = 0
        self._seen: dict[Instrument, dict[str, None]] = {instrument: {} for instrument in instruments}
        self._rejected: Counter[str] = Counter()
        self._feeds: list[FeedChanged] = []
        self._interrupted: set[str] = set()

    def put(self, exchange: str, rows: Sequence[Row]) -> None:
        """Take trades of an exchange, in its order."""
        for row in rows:
            instrument = Instrument(exchange, str(row.get("symbol")))
            if instrument not in self._seen:
                self._rejected[UNKNOWN_SYMBOL] += 1
            elif self._size >= MAX_WAITING:
                self._rejected[OVERFLOW] += 1
                self._interrupted.add(exchange)
            else:
                self._waiting.setdefault(instrument, []).append(row)
                self._size += 1
        self.arrived.set()

    def reject(self, reason: str) -> None:
        """Count a trade that could not even be read."""
        self._rejected[reason] += 1
        self.arrived.set()

    def announce(self, change: FeedChanged) -> None:
        """Tell of a feed; anything but `connected` means that its silence says nothing."""
        self._feeds.append(change)
        if change.state != "connected":
            self._interrupted.add(change.exchange)
        self.arrived.set()

    def interrupt(self, exchange: str) -> None:
        """Trades of an exchange were lost."""
        self._interrupted.add(exchange)

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """Recognise trades that are on the stream already."""
        for batch in stored:
            seen = self._seen.get(Instrument(batch.exchange, batch.symbol))
            if seen is not None:
                _limit(seen, [name for name in batch.trade_id if name is not None])

    def empty(self, now_ms: int) -> Chunk:
        """Everything that has come, as a chunk at wall clock `now_ms`."""
        waiting, self._waiting, self._size = self._waiting, {}, 0
        rejected, self._rejected = self._rejected, Counter()
        feeds, self._feeds = self._feeds, []
        interrupted, self._interrupted = self._interrupted, set()
        self.arrived.clear()
        trades, duplicates = [], 0
        for instrument, rows in waiting.items():
            fresh = self._unseen(instrument, rows)
            duplicates += len(rows) - len(fresh)
            accepted = _accepted(fresh, now_ms, rejected)
            if len(accepted):
                trades.append(TradeRows(instrument, accepted))
        return Chunk(
            clock_ms=now_ms,
            trades=trades,
            trades_rejected=rejected,
            duplicates=duplicates,
            feeds=feeds,
            interrupted=sorted(interrupted),
        )

    def _unseen(self, instrument: Instrument, rows: Sequence[Row]) -> list[Row]:
        """Leave out trades whose id came before; trades without id cannot be told apart."""
        seen, fresh = self._seen[instrument], []
        for row in rows:
            name = row.get("id")
            if name is None:
                fresh.append(row)
            elif str(name) not in seen:
                seen[str(name)] = None
                fresh.append(row)
        _limit(seen, [])
        return fresh


def _limit(seen: dict[str, None], more: Iterable[str]) -> None:
    """Add ids, and forget the oldest beyond MAX_IDS."""
    for name in more:
        seen[name] = None
    for name in list(seen)[: max(0, len(seen) - MAX_IDS)]:
        del seen[name]


def _accepted(rows: Sequence[Row], now_ms: int, rejected: Counter[str]) -> Trades:
    ts_ms = np.array([row.get("timestamp") or 0 for row in rows], np.int64)
    price, amount = _numbers(rows, "price"), _numbers(rows, "amount")
    codes = check_trades(ts_ms, price, amount, now_ms)
    for code in codes[codes != ACCEPTED].tolist():
        rejected[REASONS[code]] += 1
    keep = np.flatnonzero(codes == ACCEPTED)
    chosen = [rows[at] for at in keep.tolist()]
    side = np.array([_SIDES.get(str(row.get("side")), ord("-")) for row in chosen], np.uint8)
    ids = [None if row.get("id") is None else str(row["id"]) for row in chosen]
    return Trades(ts_ms[keep], price[keep], amount[keep], side, ids)


def _numbers(rows: Sequence[Row], name: str) -> Floats:
    """A column of numbers; what is missing becomes NaN, which no check accepts."""
    return np.array([np.nan if row.get(name) is None else float(row[name]) for row in rows], np.float64)
