"""`tocsin check`: are the strategies honest? Nothing here needs a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from signal_engine.comparison import Mismatch
from signal_engine.lookahead import Verdict, check_lookahead
from tocsin.commands.warmup import warmup
from tocsin.console import EXIT_FAILED, err, out, run, told
from tocsin.differences import both, document, place
from tocsin.judged import FromOption, StrategyOption, TimeframeOption, judged
from tocsin.options import ConfigOption
from tocsin.recorded import bar, candles_of

app = typer.Typer(no_args_is_help=True, help="Check that strategies are honest, on candle files, without any server.")
app.command()(warmup)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


@app.command()
def lookahead(
    files: FromOption,
    strategies: StrategyOption = None,
    timeframes: TimeframeOption = None,
    cuts: Annotated[int, typer.Option(min=0, help="Cuts drawn at random, beside one after every signal.")] = 20,
    seed: Annotated[int, typer.Option(help="What the random cuts are drawn from.")] = 1,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Prove that no strategy looks into the future.

    Every signal of the whole history is judged again on data that end with its candle, in every timeframe: it must
    come out the same in every figure. At the random cuts all symbols are looked at, and no other signal may appear.
    This finds shifts into the future, centred windows, higher timeframes merged before their close, figures
    normalised over all of history, and swings that nobody has confirmed yet.

    Takes 10 to 20 ms a signal; `--timeframe` and `--strategy` make it less.

    Example: `tocsin check lookahead --from candles.parquet --timeframe 1h --strategy ema_cross`

    What happens next: exit code 0 when every signal is the same, 1 with the first that differs of each strategy if
    not, or when a strategy broke. Do not trust the backtest of a strategy that fails.
    """
    with told():
        chosen = judged(config, strategies, timeframes)
    candles = run(candles_of(files, chosen.looked_at))
    with bar() as bars:
        task = bars.add_task("looking at cuts", total=None)
        verdicts = check_lookahead(
            chosen.strategies,
            candles,
            timeframes=chosen.timeframes,
            cuts=cuts,
            seed=seed,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    ok = not any(verdict.differing or verdict.broke for verdict in verdicts.values())
    if json:
        print(msgspec.json.encode({"ok": ok, "strategies": _document(verdicts)}).decode())
    else:
        _print(verdicts)
    if not ok:
        raise typer.Exit(EXIT_FAILED)


def _document(verdicts: Mapping[str, Verdict]) -> dict[str, object]:
    return {
        name: {
            "signals": verdict.signals,
            "broke": verdict.broke and verdict.broke.error,
            "differing": len(verdict.differing),
            "first": document(verdict.differing[0], "whole", "cut") if verdict.differing else None,
        }
        for name, verdict in verdicts.items()
    }


def _print(verdicts: Mapping[str, Verdict]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("strategy")
    table.add_column("signals", justify="right")
    table.add_column("differing", justify="right")
    table.add_column("verdict")
    for name, verdict in verdicts.items():
        table.add_row(escape(name), f"{verdict.signals:,}", f"{len(verdict.differing):,}", _verdict(verdict))
    out.print(table)
    for name, verdict in verdicts.items():
        if verdict.broke:
            err.print(escape(f"{name} broke: {verdict.broke.error}"))
        if verdict.differing:
            err.print(f"{escape(name)}: {escape(_sentence(verdict.differing[0]))}")


def _verdict(verdict: Verdict) -> str:
    if verdict.broke:
        return "[bold red]broke[/]"
    if verdict.differing:
        return "[bold red]looks ahead[/]"
    return "[green]does not look ahead[/]" if verdict.signals else "[yellow]no signal to check[/]"


def _sentence(mismatch: Mismatch) -> str:
    values = both(mismatch, "on all of history", "when the data end sooner")
    return f"the first difference is on {place(mismatch)}: {values}."
