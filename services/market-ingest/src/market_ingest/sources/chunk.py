"""What a source gives: a stretch of market data and how far the market clock has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from market_ingest.columns import CandleRows, Instrument, TradeRows
from tocsin_common.events import FeedChanged, TradesReceived


@dataclass(frozen=True, slots=True)
class Chunk:
    """Trades and candles up to `clock_ms`: nothing that happened before it is still to come (live: on time).

    `cursor` is the position in the source after this chunk, counted in its own order. Candles of longer timeframes
    come first. Rejections are counts by reason. `interrupted`: exchanges whose feed broke, so that silence there is
    no flat candle.
    """

    clock_ms: int
    cursor: int = 0
    trades: Sequence[TradeRows] = ()
    candles: Sequence[CandleRows] = ()
    trades_rejected: Mapping[str, int] = field(default_factory=dict)
    candles_rejected: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    feeds: Sequence[FeedChanged] = ()
    interrupted: Sequence[str] = ()
    ended: bool = False


class Source(Protocol):
    """A source of market data. `live`: its clock is the wall clock, and it cannot be asked for the past."""

    @property
    def source_id(self) -> str:
        """Names the content: the same id and cursor mean the same position."""
        ...

    @property
    def instruments(self) -> Sequence[Instrument]: ...

    @property
    def live(self) -> bool: ...

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """After a restart: these trades are on the stream already, should they come again."""
        ...

    def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        """Chunks from a position on, at least one a second, until the source ends or the caller stops."""
        ...
