"""What came of a run, counted from the streams and the database, never from what a service says about itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from rich.table import Table

from tocsin.audit.facts import Facts
from tocsin_common.events import EquityMarked, OrderFilled, SignalSkipped

Summary = dict[str, Any]


def summarise(facts: Facts, rows: dict[str, int], seconds: float, *, trades_before_seq: int = 0) -> Summary:
    """One JSON-ready object. `trades_in`, `rejected` and `late` come from the totals of the market's last mark.

    Counts are of everything the streams hold; `trades_per_s` is of what was stored on TRADES after a sequence.
    """
    published = facts.trades.count()
    now = published - facts.trades.count(trades_before_seq)
    outcomes = [outcome for of_signal in facts.outcomes.values() for outcome in of_signal]
    paper = [event for events in facts.paper.values() for event in events]
    return {
        "trades_in": facts.total("trades_read"),
        "trades_published": published,
        "trades_in_candles": _trades_in_candles(facts),
        "trades_late": facts.total("trades_late"),
        "trades_rejected": facts.total("trades_rejected"),
        "candles": facts.candles.count_by_timeframe(),
        "signals": len(facts.signals),
        "signals_by_strategy": _counted(signal.strategy for signal in facts.signals.values()),
        "outcomes": len(outcomes),
        "outcomes_by_result": _counted(outcome.result for outcome in outcomes),
        "alerts_raised": len(facts.alerts),
        "alerts_suppressed": len(facts.suppressed),
        "deliveries": _deliveries(facts),
        "fills": sum(isinstance(event, OrderFilled) for event in paper),
        "signals_skipped": sum(isinstance(event, SignalSkipped) for event in paper),
        "equity": _equity(facts),
        "dead_letters": sum(facts.dead.values()),
        "rows": rows,
        "messages": {name: stream.messages for name, stream in facts.streams.items()},
        "seconds": round(seconds, 3),
        "trades_per_s": round(now / seconds, 1) if seconds else 0.0,
    }


def table(summary: Summary) -> Table:
    """The summary as a person reads it."""
    drawn = Table(title="What came of it", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(style="dim")
    drawn.add_column(justify="right")
    drawn.add_column()
    drawn.add_row("trades in", f"{summary['trades_in']:,}", f"{summary['trades_rejected']:,} rejected")
    in_candles = f"{summary['trades_in_candles']:,} in candles + {summary['trades_late']:,} late"
    drawn.add_row("trades published", f"{summary['trades_published']:,}", in_candles)
    drawn.add_row("candles", f"{sum(summary['candles'].values()):,}", _listed(summary["candles"]))
    drawn.add_row("signals", f"{summary['signals']:,}", _listed(summary["signals_by_strategy"]))
    drawn.add_row("outcomes", f"{summary['outcomes']:,}", _listed(summary["outcomes_by_result"]))
    drawn.add_row("alerts raised", f"{summary['alerts_raised']:,}", f"{summary['alerts_suppressed']:,} suppressed")
    for channel, states in summary["deliveries"].items():
        drawn.add_row(f"deliveries, {channel}", f"{sum(states.values()):,}", _listed(states))
    drawn.add_row("fills", f"{summary['fills']:,}", f"{summary['signals_skipped']:,} signals skipped")
    for portfolio, equity in summary["equity"].items():
        drawn.add_row(f"equity, {portfolio}", f"{float(equity):,.2f}", "")
    drawn.add_row("dead letters", f"{summary['dead_letters']:,}", "")
    drawn.add_row("rows", f"{sum(summary['rows'].values()):,}", _listed(summary["rows"]))
    drawn.add_row("messages", f"{sum(summary['messages'].values()):,}", _listed(summary["messages"]))
    drawn.add_row("seconds", f"{summary['seconds']:,.1f}", f"{summary['trades_per_s']:,.0f} trades/s")
    return drawn


def _trades_in_candles(facts: Facts) -> int:
    return sum(int(candles.trades.sum()) for _, candles in facts.candles.minutes_built_here())


def _deliveries(facts: Facts) -> dict[str, dict[str, int]]:
    """Deliveries by channel and last state."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for steps in facts.deliveries.values():
        found[steps[-1].channel][steps[-1].state] += 1
    return {channel: dict(sorted(states.items())) for channel, states in sorted(found.items())}


def _equity(facts: Facts) -> dict[str, str]:
    """The last marked equity of each portfolio, as an exact decimal."""
    return {
        event.portfolio: str(event.equity)
        for events in facts.paper.values()
        for event in events
        if isinstance(event, EquityMarked)
    }


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.lower()} {count:,}" for name, count in counts.items())
