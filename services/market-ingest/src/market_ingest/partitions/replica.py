"""One of several market-ingests: what its pipeline asks of ownership and conductor.

An instrument belongs to the lease under which its candles were rebuilt. Should the partition go and come back, nothing
computed before that is stored any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from market_ingest.columns import Instrument
from market_ingest.metrics import IngestMetrics
from market_ingest.partitions.market import MARKET_INGEST
from market_ingest.partitions.merging import MarketClock, Report
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.events import CandlesClosed, ClockAdvanced, Event, TradesReceived
from tocsin_common.partitions.conductor import Conductor
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.subjects import partition_of


class Replica:
    """`changed` is called whenever partitions come or go."""

    def __init__(
        self,
        bus: Bus,
        allowed: frozenset[int],
        source_id: str,
        changed: Callable[[], None],
        metrics: IngestMetrics,
    ) -> None:
        self._metrics = metrics
        self._changed = changed
        self._tokens: dict[Instrument, int] = {}
        self._ownership = Ownership(bus, MARKET_INGEST, allowed, self._shares_changed)
        self._conductor = Conductor(
            bus, self._ownership, "market", Report, lambda last: MarketClock(last, source_id), self._marked
        )

    def member(self) -> AbstractAsyncContextManager[None]:
        """Take part inside the context, and leave in order after it."""
        return self._conductor.taking_part()

    def owns(self, instrument: Instrument) -> bool:
        """Whether its partition is ours at this moment."""
        return self._ownership.owns(partition_of(*instrument))

    def begin(self, instruments: Sequence[Instrument]) -> list[Instrument]:
        """Those that are ours: from now on the stream holds nothing of them but what we read and store ourselves."""
        tokens = self._ownership.tokens
        ours = [instrument for instrument in instruments if partition_of(*instrument) in tokens]
        self._tokens.update((instrument, tokens[partition_of(*instrument)]) for instrument in ours)
        return ours

    async def store(self, events: Sequence[Event]) -> list[tuple[Event, Stored]]:
        """Store what is ours, in order; returns that with its receipts. Raises Unreachable."""
        tokens = self._ownership.tokens
        return await self._ownership.store([event for event in events if self._is_current(event, tokens)])

    def report_of(self, progress: ClockAdvanced) -> Report:
        """Everything of ours, as it is at this moment, before this time is on the streams up to these sequences."""
        return Report(
            replica=self._ownership.name,
            tokens=self._ownership.tokens,
            time_ms=progress.time_ms,
            trades_seq=progress.trades_seq,
            candles_seq=progress.candles_seq,
            trades_from_seq=progress.trades_from_seq,
            candles_from_seq=progress.candles_from_seq,
            totals=progress.totals,
        )

    async def report(self, report: Report) -> None:
        """Tell it to whoever writes the marks. Raises Unreachable."""
        await self._conductor.report(report)

    def _is_current(self, event: Event, tokens: dict[int, int]) -> bool:
        if not isinstance(event, TradesReceived | CandlesClosed):
            return True
        instrument = Instrument(event.exchange, event.symbol)
        return self._tokens.get(instrument) == tokens.get(partition_of(*instrument), 0)

    def _shares_changed(self) -> None:
        self._metrics.partitions.set(len(self._ownership.tokens))
        self._changed()

    def _marked(self, mark: ClockAdvanced, left_behind: frozenset[int]) -> None:
        self._metrics.marks.inc()
        self._metrics.clock.set(mark.time_ms / 1000)
        self._metrics.left_behind.set(len(left_behind))
