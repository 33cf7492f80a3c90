"""The newest candle of each key as the builder closed it, among corrections and history on the same subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from market_ingest.columns import Candles, Instrument, candles_of
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import CandlesClosed
from tocsin_common.streams import CANDLES
from tocsin_common.subjects import candles as candles_subject

Key = tuple[Instrument, str]
"""Instrument and timeframe."""

SEARCH_BACK = 100_000
"""Messages looked through for a candle that something else came after: corrections and history come within minutes
of it, except where nothing was built at all."""

BLOCK = 10_000


def is_built(event: CandlesClosed) -> bool:
    """Whether a candle came from a builder when it closed, not afterwards from the exchange."""
    return not event.revision and event.origin != "history"


async def newest_candles(bus: Bus, keys: Sequence[Key], through_seq: int) -> dict[Key, Candles]:
    """The last message of each key at `through_seq` or before, without corrections and history; where there is
    nothing else, the last of those. Keys whose last message comes later may be missing. Raises Unreachable."""
    found: dict[Key, Candles] = {}
    covered: dict[Key, CandlesClosed | None] = {}
    async for key, message in last_of(bus, CANDLES, {key: _stored_subject(key) for key in keys}):
        event = message.event() if message is not None else None
        if message is None or not isinstance(event, CandlesClosed):
            continue
        known = message.seq <= through_seq
        if not is_built(event):
            covered[key] = event if known else None
        elif known:
            found[key] = candles_of(event)
    return found | await _uncovered(bus, covered, through_seq)


async def _uncovered(bus: Bus, covered: Mapping[Key, CandlesClosed | None], through_seq: int) -> dict[Key, Candles]:
    """Read backwards until every key's built candle is found."""
    found = {key: candles_of(event) for key, event in covered.items() if event is not None}
    wanted, first_seq = set(covered), max(1, through_seq - SEARCH_BACK + 1)
    end = through_seq
    while wanted and end >= first_seq:
        begin = max(first_seq, end - BLOCK + 1)
        for message in reversed(await _block(bus, begin, end)):
            event = message.event()
            if isinstance(event, CandlesClosed) and is_built(event):
                key = Instrument(event.exchange, event.symbol), event.timeframe
                if key in wanted:
                    wanted.discard(key)
                    found[key] = candles_of(event)
        end = begin - 1
    return found


async def _block(bus: Bus, begin: int, end: int) -> list[Received]:
    reader = bus.reader(CANDLES, after=begin - 1)
    try:
        return await reader.through(end)
    finally:
        await reader.close()


def _stored_subject(key: Key) -> str:
    """The subject as the server stores it, with any partition."""
    (exchange, symbol), timeframe = key
    return candles_subject(exchange, symbol, timeframe).replace("market.candles.", "market.candles.*.", 1)
