"""`tocsin parity`: are the live signals those that all of history gives?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from signal_engine.comparison import Mismatch
from signal_engine.excuses import Judges, Reason
from signal_engine.parity import Parity, parity_of
from tocsin.console import EXIT_FAILED, UsageError, err, out, run, say
from tocsin.differences import both, document, place
from tocsin.judged import judged
from tocsin.moments import moment, moment_ms
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, target
from tocsin.servers import bus_for
from tocsin.streamed import live_of

REASONS: dict[Reason, str] = {
    "unknown": "live, of a strategy, version, parameters or timeframe that the configuration does not have",
    "warm_up": "of candles of origin history, which only warmed the engine up",
    "late": "judged before a late candle of their symbol had come",
    "late_for_market": "of the whole market, judged before a candle of it had come that was behind its mark",
    "aged_out": "of candles that the stream does not hold any more",
    "unsettled": "confirmed after the engine's last mark",
    "quarantined": "of strategies that were off after they broke",
}


def parity(
    since: Annotated[
        str | None, typer.Option(help="First day or moment, UTC: 2024-01-01 or 2024-01-01T12:00 (default: all).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this day or moment, exclusive (default: now).")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    nats: NatsOption = None,
) -> None:
    """Prove that the live signals are those that all of history gives.

    Judges the candles that the stream holds again, in one query over all of them with the strategies of the
    configuration, and compares every signal with the live one: id, prices, confidence, reasons, features, sizes. Give
    the same --config as to `tocsin up`. 100.00 % is printed only when every single one is the same.

    Works beside a running `tocsin up`, or starts only the NATS server on the data directory. All candles are read;
    with --since only those are kept and judged that its signals depend on.

    Example: `tocsin parity --since 2024-01-01`

    What happens next: nothing is changed. What honestly cannot be equal is counted by reason and not compared
    (docs/honesty.md). Exit code 0 at 100 %, 1 below, with the first signal that differs and both its values, and when
    a strategy broke.
    """
    found = run(_parity(since, until, config, data_dir, nats))
    if json:
        print(msgspec.json.encode(_document(found)).decode())
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)


async def _parity(
    since: str | None, until: str | None, config: Path | None, data_dir: Path, nats: str | None
) -> Parity:
    since_ms = moment_ms("--since", since) if since else 0
    until_ms = moment_ms("--until", until) if until else sys.maxsize
    if until_ms <= since_ms:
        raise UsageError(f"--until {until} is not later than --since {since}.")
    chosen = judged(config, None, None)
    judges = Judges(chosen.strategies, chosen.timeframes, chosen.sizing)
    async with bus_for(target(data_dir, config, nats), "parity") as bus:
        live = await live_of(bus, chosen.looked_at, judges.reach_ms(since_ms), with_marks=bool(judges.across))
    if not len(live.recording):
        raise UsageError(f"The stream holds no candle of {', '.join(chosen.looked_at)} in that time.")
    say(f"judging {len(live.recording):,} candles again")
    return parity_of(judges, live, since_ms=since_ms, until_ms=until_ms)


def _document(found: Parity) -> dict[str, object]:
    return {
        "ok": found.ok,
        "match_percent": found.percent,
        "compared": found.compared,
        "same": found.same,
        **_counts(found),
        "excused": {reason: found.excused.get(reason, 0) for reason in REASONS},
        "begun_later": found.begun_later,
        "broke": found.broke,
        "first": document(found.differing[0], "live", "history") if found.differing else None,
    }


def _counts(found: Parity) -> dict[str, int]:
    sides = [(mismatch.left is not None, mismatch.right is not None) for mismatch in found.differing]
    return {
        "different": sides.count((True, True)),
        "only_live": sides.count((True, False)),
        "only_history": sides.count((False, True)),
    }


def _print(found: Parity) -> None:
    colour = "green" if found.ok else "bold red"
    counts = ", ".join(f"{count:,} {name.replace('_', ' in ')}" for name, count in _counts(found).items())
    if found.compared:
        out.print(f"[{colour}]{found.percent} %[/] of {found.compared:,} signals are the same: {counts}")
    else:
        out.print("[yellow]no signals[/]: neither the stream nor its candles give any in that time")
    for reason, count in found.excused.items():
        out.print(f"not compared: {count:,} {REASONS[reason]}")
    if found.differing:
        err.print(escape(_sentence(found.differing[0])))
    for strategy, error in found.broke.items():
        err.print(escape(f"{strategy} broke while it was judged again: {error}"))
    for strategy, began_ms in found.begun_later.items():
        err.print(
            f"Every missing signal of {escape(strategy)} is older than its first live one ({moment(began_ms)}): if it "
            "was configured only then, compare from there on with --since."
        )


def _sentence(mismatch: Mismatch) -> str:
    what = f"{mismatch.signal.strategy} on {place(mismatch)}"
    return f"The first difference is of {what}: {both(mismatch, 'live', 'on all of history')}."
