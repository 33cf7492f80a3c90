"""The core: chunks of a source in, events out. No I/O, and no clock but the source's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from market_ingest.candles import CandleBuilder, Closed, InstrumentCandles
from market_ingest.columns import (
    UNCOUNTED,
    CandleRows,
    Candles,
    Floats,
    Instrument,
    Ints,
    TradeRows,
    Trades,
    join,
)
from market_ingest.levels import FEW_ROWS
from market_ingest.packed import Packed
from market_ingest.sources.chunk import Chunk, Dropped, Interrupted, LiveTrades, Resumed
from tocsin_common.events import CandlesClosed, Event, FeedChanged, TradesReceived
from tocsin_trading.timeframes import TIMEFRAME_MS

TRADE_ROWS, CANDLE_ROWS = 128, 500
"""Most rows of a message, a consumer's unit of work: about 6 kB of trades, 30 kB of candles. With 500 trades a whole
replay takes a sixth less time, but ingest over twice that of publishing its messages (`python -m bench ingest`)."""

TOTALS = (
    "trades_read",
    "trades_published",
    "trades_rejected",
    "trades_duplicate",
    "trades_late",
    "candles_read",
    "candles_rejected",
    "candles_repeated",
    "candles_closed",
)
"""Running counts since a source began. Read = published + rejected + duplicate, for trades."""

Key = tuple[Instrument, str]
"""Instrument and timeframe."""


@dataclass(slots=True)
class Progress:
    """How far a source has come.

    `cursor` and `clock_ms` are where it goes on; `time_ms` is what a mark may claim: everything that happened before
    it has been given to the streams. `stored_trades`: how many trades after the cursor each instrument has on TRADES
    already; `stored_candles`: open time up to which a key's candles are on CANDLES already. Until all of them have
    come again, and the clock stands at `hold_until_ms`, no mark may be made: it would claim too much.
    """

    cursor: int = 0
    clock_ms: int = 0
    time_ms: int = 0
    ended: bool = False
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0))
    stored_trades: dict[Instrument, int] = field(default_factory=dict)
    stored_candles: dict[Key, int] = field(default_factory=dict)
    hold_until_ms: int = 0

    @property
    def catching_up(self) -> bool:
        """Whether a mark would be ahead of what has been handled since the restart."""
        return bool(self.stored_trades) or self.clock_ms < self.hold_until_ms


class Ingest:
    """Turns chunks into events and keeps count. `settle_ms`: how late a live trade may come and still be on time.
    `live`: the source announces its gaps itself.
    """

    def __init__(
        self, source_id: str, builder: CandleBuilder, progress: Progress, *, settle_ms: int = 0, live: bool = False
    ) -> None:
        self.source_id = source_id
        self.builder = builder
        self.progress = progress
        self._settle_ms = settle_ms
        self._live = live

    def take_stored(self, batches: Iterable[TradesReceived], out: Closed) -> list[Event]:
        """Take live trades that are on TRADES after the last mark: only their candles may still be missing."""
        for batch in batches:
            self.builder.of(Instrument(batch.exchange, batch.symbol)).add_live(batch, out)
            self._count_trades(len(batch.ts_ms))
        return self._closed_events(out)

    def handle(self, chunk: Chunk, received_ms: int) -> list[Event]:
        """The events of a chunk, in the order in which they must be stored."""
        trades: list[Event] = []
        for rows in chunk.trades:
            self._count_trades(len(rows.trades))
            trades += trade_events(self._unstored_trades(rows), self.source_id, chunk.cursor, received_ms)
        out = Closed()
        self._build(chunk, out)
        trades += self._take_steps(chunk, out)
        self._advance(chunk, out)
        self._count_refused(chunk)
        return [*chunk.feeds, *trades, *self._closed_events(out)]

    def _build(self, chunk: Chunk, out: Closed) -> None:
        """Give the builder what the chunk holds: candles first, except where minutes and trades must alternate."""
        traded = {rows.instrument for rows in chunk.trades}
        minutes: dict[Instrument, CandleRows] = {}
        for rows in chunk.candles:
            self.progress.totals["candles_read"] += len(rows.candles)
            if rows.timeframe == "1m" and rows.instrument in traded:
                minutes[rows.instrument] = rows
            else:
                self.builder.of(rows.instrument).add_candles(rows.timeframe, rows.origin, rows.candles, out)
        for trade_rows in chunk.trades:
            candles, given = self.builder.of(trade_rows.instrument), minutes.get(trade_rows.instrument)
            if given is None:
                candles.add_trades(trade_rows.trades, out)
            else:
                _alternate(candles, trade_rows.trades, given, out)

    def _take_steps(self, chunk: Chunk, out: Closed) -> list[Event]:
        """What a live source gives: trades, and from where on silence means what, in its order."""
        trades: list[Event] = []
        for step in chunk.steps:
            match step:
                case LiveTrades(instrument):
                    candles = self.builder.of(instrument)
                    for batch in live_events(step, self.source_id, chunk.cursor):
                        trades.append(batch)
                        self._count_trades(len(batch.ts_ms))
                        candles.add_live(batch, out)
                case Interrupted(instrument):
                    self.builder.interrupt(*instrument)
                case Resumed(instrument, whole):
                    self.builder.resume(instrument, whole)
                case Dropped(instrument):
                    self.builder.drop(instrument)
        return trades

    def _advance(self, chunk: Chunk, out: Closed) -> None:
        progress = self.progress
        progress.cursor = chunk.cursor
        progress.clock_ms = max(progress.clock_ms, chunk.clock_ms)
        progress.time_ms = max(progress.time_ms, progress.clock_ms - self._settle_ms)
        progress.ended = chunk.ended
        if chunk.ended:
            self.builder.finish(out)
        else:
            self.builder.advance(progress.clock_ms, out)

    def _count_refused(self, chunk: Chunk) -> None:
        totals = self.progress.totals
        trades_rejected = sum(chunk.trades_rejected.values())
        candles_rejected = sum(chunk.candles_rejected.values())
        totals["trades_rejected"] += trades_rejected
        totals["trades_duplicate"] += chunk.duplicates
        totals["trades_read"] += trades_rejected + chunk.duplicates
        totals["candles_rejected"] += candles_rejected
        totals["candles_read"] += candles_rejected

    def _count_trades(self, rows: int) -> None:
        self.progress.totals["trades_read"] += rows
        self.progress.totals["trades_published"] += rows

    def _unstored_trades(self, rows: TradeRows) -> TradeRows:
        """Leave out the trades that were stored before a crash."""
        stored = self.progress.stored_trades.get(rows.instrument, 0)
        if not stored:
            return rows
        again = min(stored, len(rows.trades))
        self.progress.stored_trades[rows.instrument] = stored - again
        if again == stored:
            del self.progress.stored_trades[rows.instrument]
        return TradeRows(rows.instrument, rows.trades.rows(again, len(rows.trades)))

    def _closed_events(self, out: Closed) -> list[Event]:
        totals = self.progress.totals
        totals["trades_late"] += out.late
        totals["candles_repeated"] += out.repeated
        events: list[Event] = [
            FeedChanged(
                exchange=gap.instrument.exchange,
                symbol=gap.instrument.symbol,
                state="gap_found",
                ts_ms=gap.to_ms,
                from_ms=gap.from_ms,
                to_ms=gap.to_ms,
                reason="no trades",
            )
            for gap in out.gaps
            if not self._live
        ]
        for rows in _by_key(out.candles):
            totals["candles_closed"] += len(rows.candles)
            end_ms = int(rows.candles.open_ms[-1]) + TIMEFRAME_MS[rows.timeframe]
            self.progress.time_ms = max(self.progress.time_ms, end_ms)
            missing = self._unstored_candles(rows)
            if len(missing):
                events += candle_events(rows, missing)
        return events

    def _unstored_candles(self, rows: CandleRows) -> Candles:
        """Leave out the candles that were stored before a crash."""
        through_ms = self.progress.stored_candles.get((rows.instrument, rows.timeframe))
        if through_ms is None or int(rows.candles.open_ms[0]) > through_ms:
            return rows.candles
        return rows.candles.rows(rows.candles.open_ms > through_ms)


def _alternate(candles: InstrumentCandles, trades: Trades, minutes: CandleRows, out: Closed) -> None:
    """Trades and given minutes of one instrument in the order of their happening: a given minute takes the place of
    the one its trades made."""
    ends_ms = minutes.candles.open_ms + TIMEFRAME_MS["1m"]
    first = 0
    for at, end in enumerate(np.searchsorted(trades.ts_ms, ends_ms).tolist()):
        if end > first:
            candles.add_trades(trades.rows(first, end), out)
            first = end
        candles.add_candles("1m", minutes.origin, minutes.candles.rows(slice(at, at + 1)), out)
    if first < len(trades):
        candles.add_trades(trades.rows(first, len(trades)), out)


def live_events(step: LiveTrades, source_id: str, cursor: int) -> Iterator[TradesReceived]:
    """Live trades as messages of at most TRADE_ROWS."""
    for first in range(0, len(step.ts_ms), TRADE_ROWS):
        part = slice(first, first + TRADE_ROWS)
        yield TradesReceived(
            exchange=step.instrument.exchange,
            symbol=step.instrument.symbol,
            source=source_id,
            cursor=cursor,
            received_ms=step.received_ms,
            ts_ms=step.ts_ms[part],
            price=step.price[part],
            amount=step.amount[part],
            side=step.side[part],
            trade_id=step.trade_id[part],
            repaired=step.repaired,
        )


def trade_events(rows: TradeRows, source_id: str, cursor: int, received_ms: int) -> list[Event]:
    """Trades of one instrument as messages of at most TRADE_ROWS."""
    trades = rows.trades
    parts = [trades]
    if len(trades) > TRADE_ROWS:
        parts = [trades.rows(at, at + TRADE_ROWS) for at in range(0, len(trades), TRADE_ROWS)]
    return [
        TradesReceived(
            exchange=rows.instrument.exchange,
            symbol=rows.instrument.symbol,
            source=source_id,
            cursor=cursor,
            received_ms=received_ms,
            ts_ms=_column(part.ts_ms),
            price=_column(part.price),
            amount=_column(part.amount),
            side=part.side.tobytes().decode("ascii"),
            trade_id=_as_list(part.trade_id),
        )
        for part in parts
        if len(part)
    ]


def candle_events(rows: CandleRows, candles: Candles) -> list[Event]:
    """Closed candles of one key as messages of at most CANDLE_ROWS, each with trade counts or without."""
    counted = candles.trades > UNCOUNTED
    cuts = (np.flatnonzero(counted[1:] != counted[:-1]) + 1).tolist()
    starts = sorted({*range(0, len(candles), CANDLE_ROWS), *cuts})
    return [
        CandlesClosed(
            exchange=rows.instrument.exchange,
            symbol=rows.instrument.symbol,
            timeframe=rows.timeframe,
            origin=rows.origin,
            open_ms=_column(candles.open_ms[first:end]),
            open=_column(candles.open[first:end]),
            high=_column(candles.high[first:end]),
            low=_column(candles.low[first:end]),
            close=_column(candles.close[first:end]),
            volume=_column(candles.volume[first:end]),
            trades=_column(candles.trades[first:end]) if counted[first] else None,
        )
        for first, end in itertools.pairwise([*starts, len(candles)])
    ]


def _column(values: Ints | Floats) -> list[Any]:
    """A column of an event; a long one is never made into a list, though it reads like one."""
    return values.tolist() if len(values) <= FEW_ROWS else _as_list(Packed(values))


def _as_list(column: Sequence[Any]) -> list[Any]:
    return cast("list[Any]", column)


def _by_key(closed: Sequence[CandleRows]) -> list[CandleRows]:
    """Put together what closed in several steps of one chunk, each key's candles in their order."""
    parts: list[list[CandleRows]] = []
    newest: dict[Key, list[CandleRows]] = {}
    for rows in closed:
        same = newest.get((rows.instrument, rows.timeframe))
        if same is None or same[-1].origin != rows.origin:
            same = newest[rows.instrument, rows.timeframe] = []
            parts.append(same)
        same.append(rows)
    return [
        CandleRows(some[0].instrument, some[0].timeframe, some[0].origin, join([rows.candles for rows in some]))
        for some in parts
    ]
