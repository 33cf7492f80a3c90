"""What the streams hold up to a mark, as slices for the simulation.

The simulation runs `lateness_ms` behind the market's clock, so that trades which come a little late still count; when
a source ends it catches up. What is later than that is late. Only `clock.market` marks, which market-ingest wrote,
decide this, so it does not depend on how many of them one `clock.signals` mark stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from paper_trader.simulation import Arrived, Slice
from paper_trader.snapshot import Floor, Positions
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed
from tocsin_common.events import (
    CandlesClosed,
    ClockAdvanced,
    DeadLetter,
    Event,
    SignalRaised,
    TradesReceived,
)
from tocsin_common.streams import CANDLES, CLOCK, SIGNALS, TRADES
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

E = TypeVar("E", bound=Event)

SERVICE = "paper-trader"


class Feed:
    """Reads the input streams from given positions on. What a failed `read` has read already is kept for the next.

    `dead` collects letters for messages that cannot be used; their neighbours are not harmed.
    """

    def __init__(self, bus: Bus, positions: Positions, *, lateness_ms: int) -> None:
        self._clock = bus.reader(CLOCK, after=positions.clock_read_seq)
        self._trades = bus.reader(TRADES, after=positions.trades_seq)
        self._candles = bus.reader(CANDLES, after=positions.candles_seq)
        self._signals = bus.reader(SIGNALS, after=positions.signals_seq)
        self._read: list[tuple[int, TradesReceived | CandlesClosed]] = []
        self._raised: list[SignalRaised] = []
        self._lateness_ms = lateness_ms
        self.positions = positions
        self.dead: list[DeadLetter] = []

    async def read(self, mark: ClockAdvanced, mark_seq: int) -> Slice:
        """Everything up to a mark of the stage `signals`, and move `positions` there. Raises Unreachable."""
        at = self.positions
        for seq, clock in self._decode(await self._clock.through(mark_seq), ClockAdvanced):
            if clock.stage == "market":
                limit_ms = max([self._limit_ms(clock), *(floor.limit_ms for floor in at.floors[-1:])])
                at.floors.append(Floor(clock.trades_seq, clock.candles_seq, limit_ms))
            at.clock_read_seq = seq
        self._raised += [s for _, s in self._decode(await self._signals.through(mark.signals_seq), SignalRaised)]
        self._read += self._decode(await self._trades.through(mark.trades_seq), TradesReceived)
        self._read += self._decode(await self._candles.through(mark.candles_seq), CandlesClosed)
        until_ms = max([self._limit_ms(mark), *(floor.limit_ms for floor in _covered(at.floors, mark))])
        piece = Slice(until_ms, _with_floors(self._read, at.floors), self._raised)
        self._read, self._raised = [], []
        self.positions = replace(
            at,
            clock_seq=mark_seq,
            clock_read_seq=max(mark_seq, at.clock_read_seq),
            trades_seq=max(mark.trades_seq, at.trades_seq),
            candles_seq=max(mark.candles_seq, at.candles_seq),
            signals_seq=max(mark.signals_seq, at.signals_seq),
            floors=at.floors[max(0, len(_covered(at.floors, mark)) - 1) :],
        )
        return piece

    async def close(self) -> None:
        for reader in (self._clock, self._trades, self._candles, self._signals):
            await reader.close()

    def _limit_ms(self, clock: ClockAdvanced) -> int:
        """How far the simulation may go with a mark: what comes after it and is older is late."""
        return clock.time_ms if clock.ended else clock.time_ms - self._lateness_ms

    def _decode(self, messages: Sequence[Received], kind: type[E]) -> list[tuple[int, E]]:
        """The events of one type with their sequences; anything else becomes a dead letter."""
        events: list[tuple[int, E]] = []
        for message in messages:
            try:
                event = message.event()
                if not isinstance(event, kind):
                    raise Malformed(f"a {type(event).__name__} does not belong on {message.stream}")
                _check(event)
                events.append((message.seq, event))
            except Malformed as error:
                self.dead.append(_letter(message, error))
        return events


def _check(event: Event) -> None:
    """What the core trusts in. Raises Malformed."""
    if isinstance(event, TradesReceived) and not min(event.price) > 0:
        raise Malformed("a price is not positive")
    if isinstance(event, CandlesClosed):
        if event.timeframe not in TIMEFRAME_MS:
            raise Malformed(f"{event.timeframe!r} is not a timeframe")
        if not min(event.low) > 0:
            raise Malformed("a price is not positive")


def _with_floors(read: Sequence[tuple[int, TradesReceived | CandlesClosed]], floors: Sequence[Floor]) -> list[Arrived]:
    """Give every message the last clock that was published before it."""
    arrived = []
    passed = {TradesReceived: 0, CandlesClosed: 0}
    for seq, event in read:
        kind = type(event)
        count = passed[kind]
        while count < len(floors) and _market_seq(floors[count], kind) < seq:
            count += 1
        passed[kind] = count
        arrived.append(Arrived(event, floors[count - 1].limit_ms if count else 0))
    return arrived


def _market_seq(floor: Floor, kind: type[TradesReceived | CandlesClosed]) -> int:
    return floor.trades_seq if kind is TradesReceived else floor.candles_seq


def _covered(floors: Sequence[Floor], mark: ClockAdvanced) -> list[Floor]:
    """The clocks whose data a mark includes; the last of them is what data after the mark may be late for."""
    return [f for f in floors if f.trades_seq <= mark.trades_seq and f.candles_seq <= mark.candles_seq]


def _letter(message: Received, error: Malformed) -> DeadLetter:
    log.error("dead letter", subject=message.subject, seq=message.seq, reason="malformed", error=str(error))
    return DeadLetter(
        service=SERVICE,
        stream=message.stream,
        seq=message.seq,
        original_subject=message.subject,
        reason="malformed",
        error=f"{type(error).__name__}: {error}",
        payload=message.data,
    )
