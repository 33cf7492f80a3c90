"""Answers `market.history`: a range of closed candles from the stream where it has them, else from the exchange.

Of the revisions on the stream the newest counts, of equal ones the first. What was never stored, or has expired, is
asked from the exchange, so a page has a hole only where the exchange has one. A page without what the exchange should
have given is never sent: the asker hears when to try again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_ingest.columns import NO_CANDLES, Candles, Instrument, Ints, candles_of, join
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import FetchCandles, Key, pages, settled_ms
from market_ingest.history.shelf import stored_candles
from market_ingest.validate import check_instrument
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Rejected
from tocsin_common.events import CandlesClosed, Origin
from tocsin_common.requests import HistoryReply, HistoryRequest
from tocsin_common.streams import CANDLES
from tocsin_trading.timeframes import TIMEFRAME_MS

ORIGINS: tuple[Origin, ...] = ("trades", "exchange", "history")
HISTORY = ORIGINS.index("history")

SKEW_MS = 60_000
"""No candle is stored before it opens; the clocks of server and exchange may differ by this much."""

MAX_MESSAGES = 100_000
"""Most messages read for one page: 60 days of single minutes."""

MAX_RANGES = 4
"""With more holes than this the exchange is asked once for all that lies between them."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Candles with what they are: equally long columns; `origin` is a position in ORIGINS."""

    candles: Candles
    origin: NDArray[np.int8]
    revision: Ints

    def rows(self, part: NDArray[np.bool_] | Ints) -> Versions:
        return Versions(self.candles.rows(part), self.origin[part], self.revision[part])


def newest(events: Sequence[CandlesClosed], from_ms: int, end_ms: int) -> Versions:
    """The candles of some messages in stream order with `from_ms <= open time < end_ms`, each in the version that
    counts, oldest first."""
    sizes = [len(event.open_ms) for event in events]
    found = Versions(
        join([NO_CANDLES, *map(candles_of, events)]),
        np.repeat(np.array([ORIGINS.index(event.origin) for event in events], np.int8), sizes),
        np.repeat(np.array([event.revision for event in events], np.int64), sizes),
    )
    open_ms = found.candles.open_ms
    found = found.rows((open_ms >= from_ms) & (open_ms < end_ms))
    open_ms = found.candles.open_ms
    order = np.lexsort((-np.arange(len(open_ms)), found.revision, open_ms))
    last = np.append(open_ms[order][1:] != open_ms[order][:-1], True)[: len(order)]
    return found.rows(order[last])


def holes(open_ms: Ints, key: Key, from_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Stretches of a grid that are not in a sorted column: (first open time, end)."""
    absent = np.setdiff1d(np.arange(from_ms, end_ms, key.length_ms), open_ms)
    if not len(absent):
        return []
    cuts = np.flatnonzero(np.diff(absent) != key.length_ms) + 1
    runs = np.split(absent, cuts)
    if len(runs) > MAX_RANGES:
        runs = [absent]
    return [(int(run[0]), int(run[-1]) + key.length_ms) for run in runs]


class History:
    """Give `answer` to `bus.serve(HISTORY, ...)`. `fetch` raises Rejected for exchanges that are not configured."""

    def __init__(
        self,
        bus: Bus,
        fetch: FetchCandles,
        metrics: HistoryMetrics,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus = bus
        self._fetch = fetch
        self._metrics = metrics
        self._now_ms = now_ms

    async def answer(self, question: HistoryRequest) -> HistoryReply:
        """A page of closed candles, at most `limit`. Raises Rejected, Retryable, Unreachable."""
        key, now_ms = _key(question), self._now_ms()
        from_ms = key.floor(question.from_ms + key.length_ms - 1)
        through_ms = min(question.to_ms, key.floor(now_ms))
        end_ms = max(from_ms, min(through_ms, from_ms + question.limit * key.length_ms))
        stored = newest(await self._stored(key, from_ms), from_ms, end_ms)
        fetched = await self._fetched(key, stored.candles.open_ms, from_ms, min(end_ms, settled_ms(key, now_ms)))
        for origin, rows in (("stream", len(stored.candles)), ("exchange", len(fetched))):
            self._metrics.answered.labels(origin).inc(rows)
        return _reply(question, _together(stored, fetched), next_ms=end_ms if end_ms < through_ms else None)

    async def _stored(self, key: Key, from_ms: int) -> list[CandlesClosed]:
        """All messages that may hold candles of the range: it does not end, as corrections come any time later."""
        found: list[CandlesClosed] = []
        where = {"since_ms": max(1, from_ms - SKEW_MS)}
        while page := await self._bus.page(CANDLES, stored_candles(key), **where):
            found += [event for message in page if isinstance(event := message.event(), CandlesClosed)]
            if len(found) > MAX_MESSAGES:
                raise Rejected("too_much", f"more than {MAX_MESSAGES} messages since {from_ms}; ask for a later range")
            where = {"after": page[-1].seq}
        return found

    async def _fetched(self, key: Key, have_ms: Ints, from_ms: int, end_ms: int) -> Candles:
        """What the exchange has of the range and we have not."""
        parts = [NO_CANDLES]
        for first_ms, last_ms in holes(have_ms, key, from_ms, end_ms):
            parts += [part async for part in pages(self._fetch, key, first_ms, last_ms, tries=1)]
        found = join(parts)
        return found.rows(~np.isin(found.open_ms, have_ms))


def _key(question: HistoryRequest) -> Key:
    if question.timeframe not in TIMEFRAME_MS:
        raise Rejected("no_such_timeframe", f"{question.timeframe!r} is none of {', '.join(TIMEFRAME_MS)}")
    instrument = Instrument(question.exchange, question.symbol)
    problem = check_instrument(instrument)
    if problem is not None:
        raise Rejected("bad_symbol", problem)
    return Key(instrument, question.timeframe)


def _together(stored: Versions, fetched: Candles) -> Versions:
    both = Versions(
        join([stored.candles, fetched]),
        np.append(stored.origin, np.full(len(fetched), HISTORY, np.int8)),
        np.append(stored.revision, np.zeros(len(fetched), np.int64)),
    )
    return both.rows(np.argsort(both.candles.open_ms, kind="stable"))


def _reply(question: HistoryRequest, found: Versions, *, next_ms: int | None) -> HistoryReply:
    candles = found.candles
    return HistoryReply(
        exchange=question.exchange,
        symbol=question.symbol,
        timeframe=question.timeframe,
        open_ms=candles.open_ms.tolist(),
        open=candles.open.tolist(),
        high=candles.high.tolist(),
        low=candles.low.tolist(),
        close=candles.close.tolist(),
        volume=candles.volume.tolist(),
        origin=[ORIGINS[code] for code in found.origin.tolist()],
        revision=found.revision.tolist(),
        next_ms=next_ms,
    )
