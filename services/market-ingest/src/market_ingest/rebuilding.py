"""The open candles of instruments that come to us while we run, made again from the streams.

What is read is little: of each timeframe the newest candle, the shorter candles an open longer one is made of, and the
trades since the last closed minute. Call it when the fences of the instruments' partitions stand: afterwards nobody
else adds anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from market_ingest.candles import MINUTE_MS, CandleBuilder, Closed
from market_ingest.columns import CandleRows, Instrument, candles_of, join, trades_of
from market_ingest.newest import Key, is_built, newest_candles
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_common.streams import CANDLES, TRADES, Stream
from tocsin_common.subjects import candles as candles_subject
from tocsin_common.subjects import trades as trades_subject
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

SLACK_MS = 60_000
"""How far an exchange's clock may be ahead of the server's: what happened at a time may be stored so much earlier."""

AT_A_TIME = 64


@dataclass(slots=True)
class Rebuilt:
    """What was read of the instruments, with sequences, and the candles that had closed without being stored."""

    trades: list[tuple[TradesReceived, int]] = field(default_factory=list)
    candles: list[tuple[CandlesClosed, int]] = field(default_factory=list)
    closed: Closed = field(default_factory=Closed)


async def rebuild(bus: Bus, builder: CandleBuilder, instruments: Sequence[Instrument]) -> Rebuilt:
    """Bring the builder to where the streams are, for instruments it does not know. Raises Unreachable."""
    rebuilt = Rebuilt()
    keys = [(instrument, timeframe) for instrument in instruments for timeframe in builder.timeframes]
    newest = await newest_candles(bus, keys, (await bus.stream_state(CANDLES)).last_seq)
    for (instrument, timeframe), candles in newest.items():
        builder.of(instrument).settle(timeframe, candles)
    opens = {key: int(candles.open_ms[-1]) for key, candles in newest.items()}
    for at in range(0, len(instruments), AT_A_TIME):
        some = instruments[at : at + AT_A_TIME]
        await asyncio.gather(*(_rebuild_one(bus, builder, one, opens, rebuilt) for one in some))
    rebuilt.closed.late = rebuilt.closed.repeated = 0  # whoever stored these has counted them
    return rebuilt


async def _rebuild_one(
    bus: Bus, builder: CandleBuilder, instrument: Instrument, opens: dict[Key, int], rebuilt: Rebuilt
) -> None:
    shorter = TIMEFRAMES[:-1]
    parts = await asyncio.gather(*(_parts_of_open(bus, instrument, name, opens) for name in shorter))
    stored = await _trades_since(bus, instrument, builder.of(instrument).minutes.closed_ms)
    for found in reversed(parts):
        rebuilt.candles += found
        if found:
            events = [event for event, _ in found]
            rows = join([*map(candles_of, events)])
            named = CandleRows(instrument, events[-1].timeframe, events[-1].origin, rows)
            builder.of(instrument).remember_candles(named, rebuilt.closed)
    rebuilt.trades += stored
    for event, _ in stored:
        trades = trades_of(event)
        in_open = trades.ts_ms >= builder.of(instrument).minutes.closed_ms
        if in_open.any():
            builder.of(instrument).add_trades(trades.rows(int(in_open.argmax()), len(trades)), rebuilt.closed)


async def _parts_of_open(
    bus: Bus, instrument: Instrument, timeframe: str, opens: dict[Key, int]
) -> list[tuple[CandlesClosed, int]]:
    """The candles of one timeframe that the open candle of the next longer one is made of."""
    newest_ms = opens.get((instrument, timeframe))
    if newest_ms is None:
        return []
    longer = TIMEFRAMES[TIMEFRAMES.index(timeframe) + 1]
    length_ms = TIMEFRAME_MS[longer]
    closed_ms = opens.get((instrument, longer), newest_ms // length_ms * length_ms - length_ms) + length_ms
    if closed_ms > newest_ms:
        return []
    subject = candles_subject(*instrument, timeframe).replace("market.candles.", "market.candles.*.", 1)
    found = []
    for message in await _since(bus, CANDLES, subject, closed_ms - SLACK_MS):
        event = message.event()
        if isinstance(event, CandlesClosed) and is_built(event) and event.open_ms[-1] >= closed_ms:
            found.append((event, message.seq))
    return found


async def _trades_since(bus: Bus, instrument: Instrument, closed_ms: int) -> list[tuple[TradesReceived, int]]:
    """The stored trades of the minutes that no stored candle has closed, and the last ones in any case."""
    subject = trades_subject(*instrument).replace("market.trades.", "market.trades.*.", 1)
    last = await bus.last(TRADES, subject)
    event = last.event() if last is not None else None
    if last is None or not isinstance(event, TradesReceived):
        return []
    since_ms = closed_ms or event.ts_ms[-1] // MINUTE_MS * MINUTE_MS
    if event.ts_ms[-1] < since_ms:
        return [(event, last.seq)]
    messages = await _since(bus, TRADES, subject, since_ms - SLACK_MS)
    events = [(message.event(), message.seq) for message in messages]
    return [(event, seq) for event, seq in events if isinstance(event, TradesReceived)]


async def _since(bus: Bus, stream: Stream, subject: str, since_ms: int) -> list[Received]:
    messages = await bus.page(stream, subject, since_ms=since_ms)
    page = messages
    while page:
        page = await bus.page(stream, subject, after=page[-1].seq)
        messages += page
    return messages
