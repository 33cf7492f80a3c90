"""Facts about the market: trades, closed candles, feeds, and the clock that conducts everything downstream."""

from __future__ import annotations

from collections.abc import Sized
from typing import Literal

import msgspec

from tocsin_common import subjects
from tocsin_common.events.event import Event, encoder, require_same_length
from tocsin_common.ids import derive

Origin = Literal["trades", "exchange", "history"]
FeedState = Literal["connected", "disconnected", "stale", "gap_found", "gap_filled", "gap_unfilled"]


class TradesReceived(Event, frozen=True, kw_only=True, tag="trades.v1"):
    """Trades of one instrument that arrived together; equally long columns, in exchange order.

    `side` has one character per trade: `b` taker bought, `s` taker sold, `-` unknown. `source` and `cursor`
    say where a restarted source goes on: `cursor` is the position in the source after this batch (0: the source
    has no positions). Which trades they are is the identity of a batch: the first one's time and all ids; where one has
    no id, everything about them. `repaired` trades were fetched after a gap in the feed: they are true, but not news.
    """

    exchange: str
    symbol: str
    source: str
    cursor: int
    received_ms: int
    ts_ms: list[int]
    price: list[float]
    amount: list[float]
    side: str
    trade_id: list[str | None]
    repaired: bool = False

    def __post_init__(self) -> None:
        require_same_length(self.ts_ms, self.price, self.amount, self.side, self.trade_id)

    @property
    def subject(self) -> str:
        return subjects.trades(self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        content = encoder.encode(self.trade_id)
        if b"n" in content and b"null" in content:  # one letter is found in a thirtieth of the time
            content += encoder.encode((self.ts_ms, self.price, self.amount, self.side))
        causes = ("trades", self.exchange, self.symbol, self.source, self.cursor, self.ts_ms[0])
        return derive(*causes, content=content)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """By how much corrected candles differ from those before: new minus old, one number per candle and column."""

    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]


class CandlesClosed(Event, frozen=True, kw_only=True, tag="candles.v1"):
    """Closed candles of one instrument and timeframe, oldest first; one when live, many in a replay.

    `origin`: `trades` built here from TRADES; `exchange` as the exchange (or a candle file) gave it, the market's
    own pace; `history` backfill that only warms indicators up. `trades` counts the trades inside each candle
    (None where the source does not say). `revision` 0 is as first published, higher ones are corrections, with the
    `difference` from the revision before; None where there was no candle, because of a gap.
    """

    exchange: str
    symbol: str
    timeframe: str
    origin: Origin
    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    trades: list[int] | None = None
    revision: int = 0
    difference: Difference | None = None

    def __post_init__(self) -> None:
        columns: list[Sized] = [self.open_ms, self.open, self.high, self.low, self.close, self.volume]
        if self.difference is not None:
            moved = self.difference
            columns += [moved.open, moved.high, moved.low, moved.close, moved.volume]
        require_same_length(*columns, *([] if self.trades is None else [self.trades]))

    @property
    def subject(self) -> str:
        return subjects.candles(self.exchange, self.symbol, self.timeframe)

    @property
    def event_id(self) -> str:
        span = (self.open_ms[0], self.open_ms[-1], len(self.open_ms))
        return derive("candles", self.exchange, self.symbol, self.timeframe, self.revision, *span)


class FeedChanged(Event, frozen=True, kw_only=True, tag="feed.v1"):
    """A feed connected, went stale, or has a gap `from_ms <= t < to_ms`. `symbol` None: the whole connection.

    Where trade ids are ordered, `from_id` is the last one before the gap and `to_id` the first one after it. `trades`
    is how many `gap_filled` brought.
    """

    exchange: str
    symbol: str | None
    state: FeedState
    ts_ms: int
    from_ms: int | None = None
    to_ms: int | None = None
    from_id: str | None = None
    to_id: str | None = None
    trades: int | None = None
    reason: str = ""

    @property
    def subject(self) -> str:
        return subjects.feed(self.exchange)

    @property
    def event_id(self) -> str:
        return derive(
            "feed", self.exchange, self.symbol, self.state, self.ts_ms, self.from_ms, self.to_ms, self.from_id
        )


class ClockAdvanced(Event, frozen=True, kw_only=True, tag="clock.v1"):
    """A watermark: everything before market time `time_ms` is on the streams up to these sequences.

    Stage `market` is written by market-ingest after the candles of a boundary, stage `signals` by signal-engine
    after the signals those candles gave. Consumers that join streams advance from mark to mark, so their result
    does not depend on which stream happened to be faster. `trades_from_seq` and `candles_from_seq` are the first
    sequences that still belong to an open candle: where a restart rebuilds from. `ended`: the source has no more.
    `totals` are running counts since the source began (read, published, rejected, late ...), so that they survive
    a restart. Where several replicas share a market, `counted` is what of each one's own counts is in them.
    """

    stage: Literal["market", "signals"]
    source: str
    time_ms: int
    trades_seq: int
    candles_seq: int
    signals_seq: int = 0
    cursor: int = 0
    trades_from_seq: int = 0
    candles_from_seq: int = 0
    ended: bool = False
    totals: dict[str, int] = {}
    counted: dict[str, dict[str, int]] = {}

    @property
    def subject(self) -> str:
        return subjects.clock(self.stage)

    @property
    def event_id(self) -> str:
        progress = (self.time_ms, self.trades_seq, self.candles_seq, self.signals_seq, self.cursor, self.ended)
        return derive("clock", self.stage, self.source, *progress)

    def covers(self, mark: ClockAdvanced) -> bool:
        """Whether this is that mark, of either stage, or a later one. Sequences never go back; time may, with a new
        source."""
        if (mark.trades_seq, mark.candles_seq) != (self.trades_seq, self.candles_seq):
            return mark.trades_seq <= self.trades_seq and mark.candles_seq <= self.candles_seq
        progress, done = (mark.time_ms, mark.cursor, mark.ended), (self.time_ms, self.cursor, self.ended)
        return mark.source == self.source and progress <= done
