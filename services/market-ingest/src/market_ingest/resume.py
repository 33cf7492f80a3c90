"""Where a source goes on after a stop or a crash: everything is read back from the streams.

The last mark of the source gives its cursor, clock and counts, and the sequences from which open candles can be made
again. What was stored after that mark is not stored again:

- A source that can be asked for the past gives it once more, from the mark on. Its trades are counted per instrument,
  because they come in the same order every time; its candles are recognised by instrument, timeframe and open time.
- A live source cannot. All its stored candles are final, and its stored trades make those that are still missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from market_ingest.candles import MINUTE_MS, CandleBuilder, Closed
from market_ingest.columns import CandleRows, Instrument, candles_of, join, trades_of
from market_ingest.ingest import Key, Progress
from market_ingest.marks import Backlog
from market_ingest.newest import is_built, newest_candles
from market_ingest.sources.chunk import Source
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import CandlesClosed, ClockAdvanced, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, TRADES, Stream
from tocsin_common.subjects import clock as clock_subject
from tocsin_common.subjects import trades as trades_subject
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

MARKS_AT_A_TIME = 5_000

HOLD_MS = MINUTE_MS
"""Longest grace: a stored candle has closed again when the clock is this far past its end."""


@dataclass(slots=True)
class Resumed:
    """What the streams say about a source.

    `unclosed` are its trades after the last mark, `recent` those before it that open candles are made of. `closed`
    is what had closed without being stored.
    """

    progress: Progress = field(default_factory=Progress)
    trades_seq: int = 0
    candles_seq: int = 0
    trades_backlog: Backlog = field(default_factory=Backlog)
    candles_backlog: Backlog = field(default_factory=Backlog)
    recent: list[TradesReceived] = field(default_factory=list)
    unclosed: list[TradesReceived] = field(default_factory=list)
    closed: Closed = field(default_factory=Closed)


async def last_mark(bus: Bus, source_id: str | None = None) -> ClockAdvanced | None:
    """The newest market mark, of one source or of any."""
    message = await bus.last(CLOCK, clock_subject("market"))
    newest = _as_mark(message) if message else None
    if newest is None or source_id in (None, newest.source):
        return newest
    state = await bus.stream_state(CLOCK)
    reader = bus.reader(CLOCK, after=state.first_seq - 1)
    found = None
    for seq in range(state.first_seq + MARKS_AT_A_TIME, state.last_seq + MARKS_AT_A_TIME, MARKS_AT_A_TIME):
        for message in await reader.through(min(seq, state.last_seq)):
            mark = _as_mark(message)
            if mark.stage == "market" and mark.source == source_id:
                found = mark
    await reader.close()
    return found


async def resume(bus: Bus, source: Source, builder: CandleBuilder) -> Resumed:
    """Find out how far a source has come and put the builder into the state of its last mark."""
    newest, ours = await last_mark(bus), await last_mark(bus, source.source_id)
    trades_state, candles_state = await bus.stream_state(TRADES), await bus.stream_state(CANDLES)
    resumed = Resumed(trades_seq=trades_state.last_seq, candles_seq=candles_state.last_seq)
    if ours:
        totals = {**resumed.progress.totals, **ours.totals}
        resumed.progress = Progress(ours.cursor, ours.time_ms, ours.time_ms, ours.ended, totals)
    if resumed.progress.ended:
        return resumed
    before = ours or _beginning(newest)
    if trades_state.first_seq > before.trades_from_seq and before.trades_from_seq <= before.trades_seq:
        log.warning("trades of open candles have expired: these candles will be incomplete", source=source.source_id)
    await _read_trades(bus, source.source_id, before, resumed)
    window = await _read_candles(bus, source, before, resumed)
    if ours and newest != ours:
        resumed.progress.hold_until_ms = 0  # another source has written since: its candles say nothing about ours
    traded = {Instrument(batch.exchange, batch.symbol) for batch in (*resumed.recent, *resumed.unclosed)}
    known = sorted({*source.instruments, *traded, *(instrument for instrument, _ in window)})
    await _settle(bus, candles_state.last_seq if source.live else before.candles_seq, known, window, builder)
    for rows in sorted(window.values(), key=lambda rows: -TIMEFRAME_MS[rows.timeframe]):
        builder.of(rows.instrument).remember_candles(rows, resumed.closed)
    for batch in resumed.recent:
        builder.of(Instrument(batch.exchange, batch.symbol)).remember_trades(trades_of(batch))
    cursor, stored = resumed.progress.cursor, sum(len(batch.ts_ms) for batch in resumed.unclosed)
    log.info("resuming", source=source.source_id, cursor=cursor, trades_after_mark=stored)
    return resumed


def _beginning(newest: ClockAdvanced | None) -> ClockAdvanced:
    """The mark of a source that has none: where the last other source stood, and no open candles."""
    if newest is None:
        return ClockAdvanced(
            stage="market", source="", time_ms=0, trades_seq=0, candles_seq=0, trades_from_seq=1, candles_from_seq=1
        )
    return msgspec.structs.replace(
        newest, trades_from_seq=newest.trades_seq + 1, candles_from_seq=newest.candles_seq + 1
    )


async def resume_empty(bus: Bus, source: Source) -> Resumed:
    """Begin without any instruments, where several replicas share a market: they come when they are ours."""
    ours = await last_mark(bus, source.source_id)
    trades_state, candles_state = await bus.stream_state(TRADES), await bus.stream_state(CANDLES)
    resumed = Resumed(trades_seq=trades_state.last_seq, candles_seq=candles_state.last_seq)
    if ours:
        resumed.progress = Progress(clock_ms=ours.time_ms, time_ms=ours.time_ms)
    return resumed


async def last_trades(bus: Bus, instruments: Sequence[Instrument]) -> list[TradesReceived]:
    """The last stored trades of each."""
    subjects = {instrument: _stored_trades_subject(instrument) for instrument in instruments}
    events = [message.event() async for _, message in last_of(bus, TRADES, subjects) if message is not None]
    return [event for event in events if isinstance(event, TradesReceived)]


def _stored_trades_subject(instrument: Instrument) -> str:
    """The subject of an instrument's trades as the server stores it, with any partition."""
    return trades_subject(*instrument).replace("market.trades.", "market.trades.*.", 1)


async def _read_trades(bus: Bus, source_id: str, before: ClockAdvanced, resumed: Resumed) -> None:
    for message in await _read(bus, TRADES, before.trades_from_seq - 1, resumed.trades_seq):
        event = message.event()
        if not isinstance(event, TradesReceived) or event.source != source_id:
            continue
        instrument = Instrument(event.exchange, event.symbol)
        resumed.trades_backlog.add(instrument, max(event.ts_ms) // MINUTE_MS * MINUTE_MS, message.seq)
        if message.seq <= before.trades_seq:
            resumed.recent.append(event)
        else:
            resumed.unclosed.append(event)
            stored = resumed.progress.stored_trades
            stored[instrument] = stored.get(instrument, 0) + len(event.ts_ms)


async def _read_candles(bus: Bus, source: Source, before: ClockAdvanced, resumed: Resumed) -> dict[Key, CandleRows]:
    """The candles that open longer candles are made of. Those after the mark are noted as stored, or, of a live
    source, are as final as the others."""
    known, progress = frozenset(source.instruments), resumed.progress
    every = source.live  # its instruments are not known before it runs, and its streams hold no other market
    parts: dict[Key, list[CandlesClosed]] = defaultdict(list)
    for message in await _read(bus, CANDLES, before.candles_from_seq - 1, resumed.candles_seq):
        event = message.event()
        if not isinstance(event, CandlesClosed) or (not is_built(event) and (source.live or event.revision)):
            continue
        instrument = Instrument(event.exchange, event.symbol)
        if not every and instrument not in known:
            continue
        resumed.candles_backlog.add(instrument, event.open_ms[-1], message.seq)
        after_mark = message.seq > before.candles_seq
        if source.live or not after_mark:
            parts[instrument, event.timeframe].append(event)
            progress.totals["candles_closed"] += len(event.open_ms) * after_mark
        else:
            progress.stored_candles[instrument, event.timeframe] = event.open_ms[-1]
            end_ms = event.open_ms[-1] + TIMEFRAME_MS[event.timeframe]
            progress.hold_until_ms = max(progress.hold_until_ms, end_ms + HOLD_MS)
    return {
        (instrument, timeframe): CandleRows(instrument, timeframe, some[-1].origin, join([*map(candles_of, some)]))
        for (instrument, timeframe), some in parts.items()
    }


async def _settle(
    bus: Bus, candles_seq: int, instruments: Sequence[Instrument], window: dict[Key, CandleRows], builder: CandleBuilder
) -> None:
    """Tell every level of the builder how far its candles had closed at the mark."""
    for (instrument, timeframe), rows in window.items():
        builder.of(instrument).settle(timeframe, rows.candles)
    if not candles_seq:
        return
    wanted = [(item, name) for item in instruments for name in builder.timeframes if (item, name) not in window]
    for (instrument, timeframe), candles in (await newest_candles(bus, wanted, candles_seq)).items():
        builder.of(instrument).settle(timeframe, candles)


async def _read(bus: Bus, stream: Stream, after: int, through: int) -> list[Received]:
    if after >= through:
        return []
    reader = bus.reader(stream, after=after)
    messages = await reader.through(through)
    await reader.close()
    return messages


def _as_mark(message: Received) -> ClockAdvanced:
    event = message.event()
    if not isinstance(event, ClockAdvanced):
        raise TypeError(f"sequence {message.seq} of CLOCK is a {type(event).__name__}")
    return event
