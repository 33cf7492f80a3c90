"""The paper-trader between its streams: marks in, outcomes and paper events out, snapshots on the way.

A restart begins at the last snapshot and does again what followed it. Because the simulation gives the same events
for any grouping of marks, what was published before the crash is recognised by its id and published only once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from paper_trader.config import PaperTraderSection
from paper_trader.feed import Feed
from paper_trader.metrics import Metrics
from paper_trader.portfolios import PortfolioWatch
from paper_trader.simulation import Simulation
from paper_trader.snapshot import Positions, Snapshot
from paper_trader.store import SnapshotStore
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.errors import Rejected, Retryable, TocsinError
from tocsin_common.events import ClockAdvanced, Event, OutcomeMeasured
from tocsin_common.streams import CANDLES, CLOCK, OUTCOMES, PAPER, SIGNALS, TRADES, Stream

log = structlog.get_logger()

MARKS_PER_SLICE = 16
"""A replay has up to 20,000 rows between two marks; more than these at once would only cost memory."""

_BOUND_TO = (CLOCK, TRADES, CANDLES, SIGNALS, OUTCOMES, PAPER)


class Trader:
    """Handles marks in order. `failure`: the simulation broke, its state is worth nothing, and `stop` has been set."""

    def __init__(
        self,
        bus: Bus,
        section: PaperTraderSection,
        metrics: Metrics,
        stop: asyncio.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.portfolios = PortfolioWatch(bus, metrics)
        self.simulation = Simulation()
        self.failure: Exception | None = None
        self._bus = bus
        self._metrics = metrics
        self._store = SnapshotStore(bus)
        self._section = section
        self._stop = stop
        self._clock = clock
        self._feed = Feed(bus, Positions(), lateness_ms=section.lateness_ms)
        self._stored: dict[str, Stored] = {}
        self._outbox: list[Event] = []
        self._streams: dict[str, str] = {}
        self._saved_s = clock()
        self._must_save = False

    async def resume(self) -> int:
        """Go on from the last snapshot; returns the sequence of CLOCK to consume after. Raises TocsinError."""
        self._streams = {stream.name: (await self._bus.stream_state(stream)).identity for stream in _BOUND_TO}
        snapshot = await self._store.load()
        if snapshot is not None:
            self._check_streams(snapshot)
            self.simulation = Simulation(snapshot.state)
            self._feed = Feed(self._bus, snapshot.positions, lateness_ms=self._section.lateness_ms)
        positions = self._feed.positions
        self._stored = await self._stored_after(PAPER, positions.paper_seq)
        self._stored |= await self._stored_after(OUTCOMES, positions.outcomes_seq)
        await self.portfolios.load()
        log.info("resumed", clock_seq=positions.clock_seq, events_to_redo=len(self._stored))
        return positions.clock_seq

    async def handle(self, batch: Sequence[Incoming]) -> Sequence[Event]:
        """Advance to the last mark of the batch, publish what happened, and keep a snapshot from time to time.

        Publishes by itself: only what the server has confirmed may be in a snapshot. Returns nothing to publish.
        """
        event, seq = batch[-1].event, batch[-1].message.seq
        if self.failure is not None:
            raise Retryable("simulation_failed", str(self.failure))
        if not isinstance(event, ClockAdvanced):
            raise Rejected("not_a_mark", type(event).__name__)
        await self._publish()
        if seq > self._feed.positions.clock_seq:
            await self._change_portfolios()
            await self._advance(event, seq)
            await self._publish()
        if self._clock() - self._saved_s >= self._section.snapshot_interval_s:
            await self.save()
        return []

    async def save(self) -> None:
        """Store a snapshot, unless events are still to be published or the state is worth nothing."""
        if self.failure is None and not self._outbox:
            snapshot = Snapshot(self._feed.positions, self._streams, self.simulation.state)
            self._metrics.snapshot_bytes.set(await self._store.save(snapshot))
            self._saved_s, self._must_save = self._clock(), False

    async def _advance(self, mark: ClockAdvanced, seq: int) -> None:
        piece = await self._feed.read(mark, seq)
        try:
            with self._metrics.advance_s.time():
                events = self.simulation.advance(piece)
        except Exception as error:
            log.exception("the simulation failed", mark_seq=seq)
            self.failure = error
            self._stop.set()
            raise Retryable("simulation_failed", str(error)) from error
        fresh = [*self._feed.dead, *self._not_stored(events)]
        self._outbox = sorted(fresh, key=lambda event: isinstance(event, OutcomeMeasured))  # one batch per stream
        self._feed.dead = []
        self._metrics.collect(self.simulation.state, self.simulation.late)

    def _not_stored(self, events: list[Event]) -> list[Event]:
        """Leave out what was published between the snapshot and the crash."""
        if not self._stored:
            return events
        receipts = [self._stored.pop(event.event_id, None) for event in events]
        self._note(receipt for receipt in receipts if receipt is not None)
        return [event for event, receipt in zip(events, receipts, strict=True) if receipt is None]

    async def _publish(self) -> None:
        """Store what is in the outbox; it stays there until the server has confirmed all of it."""
        if not self._outbox:
            return
        self._note(await self._bus.publish(self._outbox))
        self._metrics.published(self._outbox)
        self._outbox = []

    def _note(self, receipts: Iterable[Stored]) -> None:
        """Remember how far on its own streams the simulation has come."""
        positions = self._feed.positions
        for receipt in receipts:
            if receipt.stream == PAPER.name:
                positions.paper_seq = max(positions.paper_seq, receipt.seq)
            elif receipt.stream == OUTCOMES.name:
                positions.outcomes_seq = max(positions.outcomes_seq, receipt.seq)

    async def _change_portfolios(self) -> None:
        """Take over changed documents, and keep a snapshot before anything depends on them.

        They are the one input that no stream replays; with the snapshot, what comes after is the same after a crash.
        While old events are done again they must wait, for those were made without them.
        """
        if not self._stored:
            for portfolio in self.portfolios.changes(self.simulation.state):
                log.info("portfolio changed", portfolio=portfolio.portfolio_id, enabled=portfolio.enabled)
                self.simulation.set_portfolio(portfolio)
                self._must_save = True
        if self._must_save:
            await self.save()

    def _check_streams(self, snapshot: Snapshot) -> None:
        other = [name for name, identity in self._streams.items() if snapshot.streams.get(name) != identity]
        if other:
            raise TocsinError(
                f"The paper-trader's snapshot belongs to other streams than these: {', '.join(other)} were made anew. "
                "Restore them, or start again with empty streams PAPER and OUTCOMES and an empty bucket snapshots."
            )

    async def _stored_after(self, stream: Stream, seq: int) -> dict[str, Stored]:
        """What was published after a sequence, by id."""
        last_seq = (await self._bus.stream_state(stream)).last_seq
        if last_seq <= seq:
            return {}
        reader = self._bus.reader(stream, after=seq)
        try:
            messages = await reader.through(last_seq)
        finally:
            await reader.close()
        return {message.message_id: Stored(stream.name, message.seq, duplicate=True) for message in messages}
