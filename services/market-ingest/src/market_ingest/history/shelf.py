"""What CANDLES holds of one instrument and timeframe, as far as history needs to know, and what is missing. Pure but
for the reading at the end.

The rule of the seam: history ends where our own candles begin, and ours begin with the interval of the first live
trade, in every timeframe. So `[.., seam)` is history and `[seam, ..)` is ours: no candle is both, none is neither. As
long as nothing has traded, history ends with the candle before the moment the instrument was taken up, and the rest
up to the first trade follows later. The candle still open at the exchange is never taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from market_ingest.columns import Instrument
from market_ingest.history.paging import Key, settled_ms
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_common.streams import CANDLES, TRADES
from tocsin_common.subjects import candles as candles_subject
from tocsin_common.subjects import partition_of
from tocsin_common.subjects import trades as trades_subject

FEW = 8
"""Messages read first: history is a few large ones, and ours follow at once."""

RETENTION_MS = CANDLES.max_age_s * 1000


@dataclass(slots=True)
class Shelf:
    """`history_ms`: end of the newest candle of history, `own_ms`: open time of the first candle of ours."""

    history_ms: int | None = None
    own_ms: int | None = None


class Missing(NamedTuple):
    """History to fetch, `from_ms <= open time < to_ms`. `last`: nothing will be missing after it."""

    from_ms: int
    to_ms: int
    last: bool


def depth_ms(key: Key, candles: int) -> int:
    """How far back history reaches: as many candles as asked for, but not more than CANDLES keeps of ours."""
    return min(candles * key.length_ms, RETENTION_MS // key.length_ms * key.length_ms)


def missing(
    key: Key, shelf: Shelf, *, candles: int, first_trade_ms: int | None, taken_up_ms: int, now_ms: int
) -> Missing:
    """What is to be fetched now; an empty range when there is nothing (yet)."""
    seam_ms = shelf.own_ms
    if seam_ms is None and first_trade_ms is not None:
        seam_ms = key.floor(first_trade_ms)
    end_ms = key.floor(taken_up_ms) if seam_ms is None else seam_ms
    from_ms = key.floor(now_ms) - depth_ms(key, candles) if shelf.history_ms is None else shelf.history_ms
    to_ms = max(from_ms, min(end_ms, settled_ms(key, now_ms)))
    return Missing(from_ms, to_ms, last=seam_ms is not None and to_ms >= seam_ms)


async def read_shelf(bus: Bus, key: Key, *, candles: int, now_ms: int) -> Shelf:
    """Look what is on the stream, no further than necessary. Raises Unreachable."""
    shelf, after, limit = Shelf(), 0, FEW
    subject, enough_ms = stored_candles(key), now_ms - depth_ms(key, candles)
    while page := await bus.page(CANDLES, subject, after=after, limit=limit):
        for message in page:
            event = message.event()
            if isinstance(event, CandlesClosed):
                _put(shelf, key, event)
        meets = shelf.own_ms is not None and shelf.history_ms is not None and shelf.history_ms >= shelf.own_ms
        if meets or (shelf.own_ms is not None and shelf.own_ms <= enough_ms):
            break
        after, limit = page[-1].seq, 1000
    return shelf


async def first_trade_ms(bus: Bus, instrument: Instrument) -> int | None:
    """When the first stored trade happened: the first candle of ours contains it."""
    subject = trades_subject(*instrument).replace("market.trades.", f"market.trades.{partition_of(*instrument)}.", 1)
    for message in await bus.page(TRADES, subject, limit=1):
        event = message.event()
        if isinstance(event, TradesReceived):
            return event.ts_ms[0]
    return None


def stored_candles(key: Key) -> str:
    """The subject of stored candles, which has the instrument's partition in it."""
    partition = partition_of(*key.instrument)
    subject = candles_subject(*key.instrument, key.timeframe)
    return subject.replace("market.candles.", f"market.candles.{partition}.", 1)


def _put(shelf: Shelf, key: Key, event: CandlesClosed) -> None:
    if event.origin == "history":
        shelf.history_ms = max(shelf.history_ms or 0, event.open_ms[-1] + key.length_ms)
    else:
        shelf.own_ms = event.open_ms[0] if shelf.own_ms is None else min(shelf.own_ms, event.open_ms[0])
