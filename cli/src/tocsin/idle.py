"""When is a replay done? When the market has ended and every consumer after it has settled everything.

The parts are asked in the order of the flow, and every service publishes its results before it acknowledges their
cause: so once a consumer is found settled, nothing can reach it any more, and one pass through all of them is enough.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from tocsin_common.bus.protocol import Bus, DurableState
from tocsin_common.errors import TocsinError
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import (
    ALERTING,
    ALERTING_SEND,
    CLOCK,
    PAPER_TRADER,
    PROJECTOR,
    STREAMS,
    Durable,
)
from tocsin_common.subjects import clock

IN_ORDER: tuple[Durable, ...] = (
    PAPER_TRADER,
    *ALERTING,
    *ALERTING_SEND.values(),
    *PROJECTOR.values(),
)

Stage = Literal["market", "signals"]


@dataclass(frozen=True)
class Progress:
    """How far a run is. `waiting_for` says what is not done yet ("" when all is); `position` changes as things move."""

    market: ClockAdvanced | None
    waiting_for: str
    position: tuple[int, ...] = field(default=(), repr=False)

    @property
    def idle(self) -> bool:
        return not self.waiting_for

    @property
    def market_ended(self) -> bool:
        return self.market is not None and self.market.ended


@dataclass
class Patience:
    """Gives up when nothing has moved for `stalled_s`; `while_running` False: only once the market has ended."""

    stalled_s: float
    while_running: bool = True
    _position: tuple[int, ...] = ()
    _since: float = field(default_factory=time.monotonic)

    def check(self, progress: Progress) -> None:
        """Note where things are. Raises TocsinError when they have been there for too long."""
        may_stall = progress.market_ended or self.while_running
        if progress.position != self._position or not may_stall:
            self._position, self._since = progress.position, time.monotonic()
        elif time.monotonic() - self._since > self.stalled_s:
            raise TocsinError(
                f"Nothing has moved for {self.stalled_s:.0f} s while waiting for {progress.waiting_for}; "
                "see the service's log in the data directory."
            )


async def look(bus: Bus, source: str) -> Progress:
    """Where the run of a source stands now. Raises Unreachable."""
    market = await last_mark(bus, "market", source)
    signals = await last_mark(bus, "signals", source)
    behind = {durable.name: await bus.durable_state(durable) for durable in IN_ORDER}
    position = [(await bus.stream_state(stream)).last_seq for stream in STREAMS]
    position += [number for state in behind.values() for number in (state.ack_floor_seq, state.ack_pending)]
    return Progress(market, _waiting_for(market, signals, behind), tuple(position))


def _waiting_for(market: ClockAdvanced | None, signals: ClockAdvanced | None, behind: dict[str, DurableState]) -> str:
    if market is None or not market.ended:
        return "market-ingest to reach the end of the files"
    if signals is None or (signals.cursor, signals.ended) != (market.cursor, market.ended):
        return "signal-engine to answer the last mark"
    unsettled = {name: state.pending + state.ack_pending for name, state in behind.items()}
    return ", ".join(f"{name} ({count:,} messages)" for name, count in unsettled.items() if count)


async def last_mark(bus: Bus, stage: Stage, source: str) -> ClockAdvanced | None:
    """The newest mark of a stage, if it is of this source."""
    newest = await bus.last(CLOCK, clock(stage))
    mark = newest.event() if newest else None
    return mark if isinstance(mark, ClockAdvanced) and mark.source == source else None
