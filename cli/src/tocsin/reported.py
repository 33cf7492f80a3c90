"""A report as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from alerting.reports import content
from alerting.reports.phrases import average, money, multiple, percent
from alerting.words.voice import RECORD
from alerting.words.wording import words
from tocsin_common.events import Named, Score, Summary


def tables(summary: Summary) -> Iterator[RenderableType]:
    """From the whole to its parts; what there is nothing of is left out."""
    yield Text(content.title(summary, RECORD), style="bold")
    yield Text(f"{content.text(summary, RECORD)}\n", style="dim")
    yield _totals(summary)
    strategies = [(words(one.name), one) for one in summary.strategies]
    symbols = [(one.name, one) for one in (*summary.best_symbols, *summary.worst_symbols[::-1])]
    hours = [(one.name, one) for one in (*summary.best_hours, *summary.worst_hours[::-1])]
    for title, groups in (("strategies", strategies), ("symbols, best and worst", symbols), ("hours", hours)):
        if groups:
            yield _groups(title, groups)
    yield _alerts(summary)
    if summary.accounts:
        yield _accounts(summary)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title, min_width=24)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _totals(summary: Summary) -> Table:
    table = _table("", "now", "before")
    both = (summary.now, summary.before)
    table.add_row("result", *(_toned(score.total_r, f"{multiple(score.total_r)} R") for score in both))
    table.add_row("win rate", *(_rate(score) for score in both))
    table.add_row("average", *(_toned(score.average_r, f"{average(score)} R") for score in both))
    factors = ("-" if score.profit_factor is None else f"{score.profit_factor:.2f}" for score in both)
    table.add_row("profit factor", *factors)
    table.add_row("signals", *(f"{score.signals:,}" for score in both))
    table.add_row("ended", *(f"{score.outcomes:,}" for score in both))
    table.add_row("still open", f"{summary.active:,}", "", end_section=True)
    table.add_row("")
    return table


def _rate(score: Score) -> str:
    if not score.outcomes:
        return "-"
    return f"{percent(score.win_rate)} ({percent(score.win_rate_low)} to {percent(score.win_rate_high)})"


def _groups(title: str, groups: Sequence[tuple[str, Named]]) -> Table:
    table = _table(title, "average", "won", "ended", "result")
    for name, one in groups:
        score = one.score
        mean = _toned(score.average_r, f"{average(score)} R") if one.enough else "[dim]too few[/]"
        result = f"{multiple(score.total_r)} R"
        table.add_row(escape(name), mean, percent(score.win_rate), f"{score.outcomes:,}", result)
    table.add_row("")
    return table


def _alerts(summary: Summary) -> Table:
    table = _table("alerts", "raised", "sent", "undelivered", "spared")
    counts = (summary.raised, summary.sent, summary.undelivered, summary.suppressed)
    table.add_row("", *(f"{count:,}" for count in counts))
    table.add_row("")
    return table


def _accounts(summary: Summary) -> Table:
    table = _table("portfolios", "change", "deepest fall", "equity")
    for one in summary.accounts:
        change = _toned(one.change, percent(one.change, signed=True, digits=2))
        equity = f"{money(one.equity)} {escape(one.currency)}"
        table.add_row(escape(one.portfolio), change, percent(one.drawdown, digits=2), equity)
    return table


def _toned(value: float | None, text: str) -> str:
    """Green above nothing, red below."""
    return f"[green]{text}[/]" if (value or 0) > 0 else f"[red]{text}[/]" if (value or 0) < 0 else text
