"""`tocsin signals`: what the strategies would have said about recorded candles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from signal_engine.history import signals_of
from signal_engine.quarantine import Quarantine
from tocsin.console import EXIT_FAILED, err, out, run, told
from tocsin.judged import FromOption, StrategyOption, TimeframeOption, judged
from tocsin.moments import moment
from tocsin.options import ConfigOption
from tocsin.recorded import candles_of
from tocsin.tables import results
from tocsin_common.events import SignalRaised, encode

COLUMNS = 240
"""Width of the table in a pipe."""


def signals(
    files: FromOption,
    strategies: StrategyOption = None,
    timeframes: TimeframeOption = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the table: the newest signals. Counts are of all.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print every signal as one line of JSON instead.")] = False,
    config: ConfigOption = None,
) -> None:
    """Evaluate recorded candles without any server: every signal the strategies give.

    Files are read as `tocsin replay` reads them: longer candles are made of shorter ones, and the signals are those
    that a replay of the same files would publish, to the last digit.

    Example: `tocsin signals --from candles.parquet --timeframe 1h --strategy ema_cross:fast=9,slow=21`

    What happens next: nothing is stored. Let `tocsin check lookahead` prove that the same strategies do not look into
    the future, and `tocsin replay` send the files through the whole system. Exit code 1: a strategy broke, its signals
    are not all there. Exit code 2: wrong use, or a file cannot be read.
    """
    with told():
        chosen = judged(config, strategies, timeframes)
    candles = run(candles_of(files, chosen.looked_at))
    broken: list[Quarantine] = []
    with err.status(f"evaluating {len(candles):,} candles", spinner="dots"):
        found = signals_of(
            chosen.strategies, candles, timeframes=chosen.timeframes, sizing=chosen.sizing, broke=broken.append
        )
    if json:
        for signal in found:
            print(encode(signal).decode())
    else:
        out.print(_table(found[-rows:]))
    counts = Counter(signal.strategy for signal in found)
    judged_candles = candles["timeframe"].is_in(chosen.timeframes).sum()
    for strategy in chosen.strategies:
        err.print(f"{strategy.instance}: {counts[strategy.instance]:,} signals in {judged_candles:,} candles")
    if len(found) > rows and not json:
        err.print(f"[dim]The table has the newest {rows} of {len(found):,}; more with --rows, all with --json.[/]")
    for one in broken:
        err.print(escape(f"{one.strategy.instance} broke: {one.error}"))
    if broken:
        raise typer.Exit(EXIT_FAILED)


def _table(found: Sequence[SignalRaised]) -> Table:
    words, figures = ("confirmed (UTC)", "symbol", "", "strategy", "side"), ("entry", "stop", "targets", "confidence")
    table = results(words, figures, piped_columns=COLUMNS)
    table.add_column("why")
    for signal in found:
        side = f"[green]{signal.side}[/]" if signal.side == "long" else f"[red]{signal.side}[/]"
        prices = (f"{signal.entry:.6g}", f"{signal.stop:.6g}", " ".join(f"{price:.6g}" for price in signal.targets))
        why = escape(signal.reasons[0]) if signal.reasons else ""
        what = (escape(signal.symbol), signal.timeframe, escape(signal.strategy), side)
        table.add_row(moment(signal.confirmed_ms), *what, *prices, str(signal.confidence), why)
    return table
