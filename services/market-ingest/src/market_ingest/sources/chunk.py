"""What a source gives: a stretch of market data and how far the market clock has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from market_ingest.columns import CandleRows, Instrument, TradeRows
from tocsin_common.events import FeedChanged, TradesReceived


class LiveTrades(NamedTuple):
    """Trades of one instrument in its order, as equally long lists: there are mostly too few for arrays. `side` has one
    letter per trade, as in `Trades`. `received_ms`: when the first of them arrived; `repaired`: they were fetched,
    because they had not arrived."""

    instrument: Instrument
    ts_ms: list[int]
    price: list[float]
    amount: list[float]
    side: str
    trade_id: list[str | None]
    received_ms: int
    repaired: bool


class Interrupted(NamedTuple):
    """From here on the silence of an instrument says nothing."""

    instrument: Instrument


class Resumed(NamedTuple):
    """An interruption ends. `whole`: nothing was lost; otherwise something was, between the trades before this and the
    trades after it."""

    instrument: Instrument
    whole: bool


class Dropped(NamedTuple):
    """An instrument is somebody else's from here on: its open candles are theirs to finish."""

    instrument: Instrument


Step = LiveTrades | Interrupted | Resumed | Dropped


@dataclass(frozen=True, slots=True)
class Chunk:
    """Trades and candles up to `clock_ms`: nothing that happened before it is still to come (live: on time).

    `cursor` is the position in the source after this chunk, counted in its own order. Candles of longer timeframes
    come first. Rejections are counts by reason. `steps` is what a live source gives instead of `trades`: in order, with
    what silence between them means. `added`: instruments a live source wants to begin with.
    """

    clock_ms: int
    cursor: int = 0
    trades: Sequence[TradeRows] = ()
    candles: Sequence[CandleRows] = ()
    steps: Sequence[Step] = ()
    trades_rejected: Mapping[str, int] = field(default_factory=dict)
    candles_rejected: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    feeds: Sequence[FeedChanged] = ()
    added: Sequence[Instrument] = ()
    ended: bool = False

    @property
    def traded(self) -> int:
        """How many trades it holds."""
        live = sum(len(step.ts_ms) for step in self.steps if isinstance(step, LiveTrades))
        return live + sum(len(rows.trades) for rows in self.trades)


class Source(Protocol):
    """A source of market data. `live`: its clock is the wall clock, and it cannot be asked for the past."""

    @property
    def source_id(self) -> str:
        """Names the content: the same id and cursor mean the same position."""
        ...

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All there will be; of a live source those at the moment, which come and go (`Chunk.added`)."""
        ...

    @property
    def live(self) -> bool: ...

    def remember(self, stored: Iterable[TradesReceived]) -> None:
        """These trades are on the stream already, should they come again: after a restart what open candles are made
        of, and before an instrument begins its last trades."""
        ...

    def chunks(self, cursor: int) -> AsyncIterator[Chunk]:
        """Chunks from a position on, at least one a second, until the source ends or the caller stops."""
        ...
