"""`tocsin check warmup`: do the strategies warm up for long enough? Nothing here needs a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from signal_engine.warmup import SEEN, Drifts, Progress, Verdict, check_warm_up, measure_indicators
from tocsin.console import EXIT_FAILED, UsageError, err, out, run, told
from tocsin.judged import FromOption, StrategyOption, TimeframeOption, judged
from tocsin.options import ConfigOption
from tocsin.recorded import bar, candles_of
from tocsin.tables import results

COLUMNS = 160
"""Width of a table in a pipe."""

T = TypeVar("T")


def warmup(
    files: FromOption,
    strategies: StrategyOption = None,
    timeframes: TimeframeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    config: ConfigOption = None,
) -> None:
    """Measure how many candles indicators need, and prove that strategies wait for them.

    An average that has seen few candles is not yet the average it will be. Drift is how far a value computed on the
    last N candles lies off the one on all of history, as a share of the largest value: shown for every indicator by
    N, and at the memory it claims. A strategy may fire once each of its columns drifts by 1e-9 at most.

    Indicators without bounded memory (running totals, paths) are named: a strategy that reads one says itself how
    many candles it needs, and the measurement says whether they were enough on these candles.

    Example: `tocsin check warmup --from candles.parquet --timeframe 1h`

    What happens next: exit code 0 when every warm-up suffices, 1 when one does not: raise the strategy's `memory`.
    A timeframe counts where the files have twice as many candles of it as a warm-up is long; exit code 2 when none is
    long enough.
    """
    with told():
        chosen = judged(config, strategies, timeframes)
    candles = run(candles_of(files, chosen.looked_at))
    verdicts = _with_bar("strategies", lambda progress: check_warm_up(chosen.strategies, candles, progress=progress))
    with told():
        _refuse(verdicts)
    indicators = _with_bar("indicators", lambda progress: measure_indicators(candles, progress=progress))
    ok = all(verdict.suffices for verdict in verdicts.values())
    if json:
        print(msgspec.json.encode(_document(ok, indicators, verdicts)).decode())
    else:
        out.print(_indicators(indicators))
        out.print(_strategies(verdicts))
        for name in [one.instance for one in chosen.strategies if one.instance not in verdicts]:
            err.print(f"[yellow]not looked at:[/] {escape(name)} judges none of {' '.join(chosen.timeframes)}")
    if not ok:
        raise typer.Exit(EXIT_FAILED)


def _with_bar(what: str, work: Callable[[Progress], T]) -> T:
    with bar() as bars:
        task = bars.add_task(f"measuring {what}", total=None)
        return work(lambda done, total: bars.update(task, completed=done, total=total))


def _refuse(verdicts: Mapping[str, Verdict]) -> None:
    """Raises UsageError when the files say nothing about the strategies, or are too short for one of them."""
    if not verdicts:
        raise UsageError("None of the strategies judges one of these timeframes; see --timeframe and --strategy.")
    for name, verdict in verdicts.items():
        if not verdict.measured:
            raise UsageError(
                f"{name} warms up for {verdict.warm_up_candles} candles; to judge that takes twice as many of one "
                "market and timeframe that it looks at. Give longer files, or a shorter --timeframe."
            )


def _document(ok: bool, indicators: Mapping[str, Drifts], verdicts: Mapping[str, Verdict]) -> dict[str, object]:
    """JSON has no infinity: a value that is there on one side only is the text "absent"."""
    return {
        "ok": ok,
        "indicators": {
            name: {"memory": drifts.memory, "drift": {str(n): _plain(drift) for n, drift in drifts.seen.items()}}
            for name, drifts in indicators.items()
        },
        "strategies": {
            name: {
                **asdict(verdict),
                "suffices": verdict.suffices,
                "drifts": {column: _plain(drift) for column, drift in verdict.drifts.items()},
            }
            for name, verdict in verdicts.items()
        },
    }


def _plain(drift: float | None) -> float | str | None:
    return "absent" if drift == math.inf else drift


def _indicators(indicators: Mapping[str, Drifts]) -> Table:
    table = results(["drift of"], ["memory", *(f"{n:,}" for n in SEEN), "at memory"], piped_columns=COLUMNS)
    table.title = "By how many candles were seen"
    for name, drifts in indicators.items():
        tried = [_cell(drifts.seen[n]) if n in drifts.seen else "" for n in SEEN]
        if drifts.memory is None:
            table.add_row(name, "[yellow]none[/]", *tried, "[yellow]never forgets[/]")
        else:
            table.add_row(name, f"{drifts.memory:,}", *tried, _cell(drifts.seen[drifts.memory]))
    return table


def _strategies(verdicts: Mapping[str, Verdict]) -> Table:
    table = results(["strategy", "on", "drifts most"], ["warm-up", "drift"], piped_columns=COLUMNS)
    table.add_column("verdict")
    for name, verdict in verdicts.items():
        column, drift = verdict.worst
        says = "[green]suffices[/]" if verdict.suffices else "[bold red]too short[/]"
        note = f", memory as the strategy states it: {', '.join(verdict.stated)}" if verdict.stated else ""
        on = " ".join(verdict.timeframes)
        table.add_row(escape(name), on, column, f"{verdict.warm_up_candles:,}", _cell(drift), says + escape(note))
    return table


def _cell(drift: float | None) -> str:
    if drift is None:
        return "-"
    if drift == math.inf:
        return "absent"
    return f"{drift:.0e}" if drift else "0"
