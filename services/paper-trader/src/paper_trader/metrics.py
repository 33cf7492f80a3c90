"""Metrics of the paper-trader."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from paper_trader.turn import State
from tocsin_common.events import EquityMarked, Event, OrderFilled, OutcomeMeasured, SignalSkipped

ADVANCE_BUCKETS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)


class Metrics:
    """Counters, gauges and histograms, on the service's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes = Counter("tocsin_outcomes", "Outcomes published.", ["strategy", "result"], registry=registry)
        self._fills = Counter("tocsin_paper_fills", "Simulated fills.", ["reason"], registry=registry)
        self._skips = Counter("tocsin_paper_skips", "Signals not followed.", ["reason"], registry=registry)
        self._equity = Gauge(
            "tocsin_paper_equity", "Equity at the last mark, in its currency.", ["portfolio"], registry=registry
        )
        self._positions = Gauge("tocsin_paper_positions", "Open positions.", ["portfolio"], registry=registry)
        self._signals = Gauge("tocsin_paper_signals_open", "Signals without an outcome so far.", registry=registry)
        self._late = Counter(
            "tocsin_paper_rows_late", "Prices that came after the clock and were dropped.", ["kind"], registry=registry
        )
        self._refused = Counter(
            "tocsin_paper_documents_refused", "Portfolio documents that are not valid.", registry=registry
        )
        self.advance_s = Histogram(
            "tocsin_paper_advance_seconds", "Advance of the simulation.", buckets=ADVANCE_BUCKETS_S, registry=registry
        )
        self.snapshot_bytes = Gauge("tocsin_paper_snapshot_bytes", "Size of the last snapshot.", registry=registry)

    def published(self, events: Iterable[Event]) -> None:
        """Count events newly stored."""
        outcomes: Tally[tuple[str, str]] = Tally()
        fills: Tally[str] = Tally()
        skips: Tally[str] = Tally()
        equity: dict[str, float] = {}
        for event in events:
            if isinstance(event, OutcomeMeasured):
                outcomes[event.strategy, event.result] += 1
            elif isinstance(event, OrderFilled):
                fills[event.reason] += 1
            elif isinstance(event, SignalSkipped):
                skips[event.reason] += 1
            elif isinstance(event, EquityMarked):
                equity[event.portfolio] = float(event.equity)
        for (strategy, result), count in outcomes.items():
            self._outcomes.labels(strategy, result).inc(count)
        for reason, count in fills.items():
            self._fills.labels(reason).inc(count)
        for reason, count in skips.items():
            self._skips.labels(reason).inc(count)
        for portfolio, value in equity.items():
            self._equity.labels(portfolio).set(value)

    def collect(self, state: State, late: Tally[str]) -> None:
        """Show where the simulation stands; takes over and clears its count of late rows."""
        self._signals.set(sum(len(lives) for lives in state.lives.values()))
        for name, account in state.accounts.items():
            self._positions.labels(name).set(len(account.held))
        for kind, count in late.items():
            self._late.labels(kind).inc(count)
        late.clear()

    def refused(self) -> None:
        self._refused.inc()
