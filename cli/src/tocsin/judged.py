"""Which strategies and timeframes a command judges: its options, and the configuration for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from signal_engine.config import Settings
from signal_engine.prepared import higher_of, prepare
from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy, build
from tocsin.console import UsageError
from tocsin.settings import DEMO_CONFIG, environment
from tocsin_common.config import load
from tocsin_trading.timeframes import TIMEFRAMES

FromOption = Annotated[
    list[Path],
    typer.Option("--from", metavar="FILE", help="Candle or trade file, parquet or CSV; may be given several times."),
]
StrategyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        metavar="NAME[:k=v,...]",
        help="A strategy, with parameters other than its defaults if need be; may be given several times. "
        "Default: those of the configuration.",
    ),
]
TimeframeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--timeframe",
        help=f"Of {', '.join(TIMEFRAMES)}; may be given several times. Default: those of the configuration.",
    ),
]

PARAMETER = re.compile(r"(\w+)=(\[[^\]]*\]|[^,\[\]]+)(?:,|$)")


@dataclass(frozen=True)
class Judged:
    """Strategies, the timeframes they judge, these with the higher ones that some strategy looks at from there, and
    whose money sizes are for."""

    strategies: Sequence[AnyStrategy]
    timeframes: Sequence[str]
    looked_at: Sequence[str]
    sizing: Sizing


def judged(config: Path | None, strategies: Sequence[str] | None, timeframes: Sequence[str] | None) -> Judged:
    """What the options ask for; the configuration says the rest. Raises UsageError, ConfigError."""
    section = load(Settings, environ=environment(config or DEMO_CONFIG, {})).signal_engine
    for timeframe in timeframes or []:
        if timeframe not in TIMEFRAMES:
            raise UsageError(f"--timeframe {timeframe!r} is none; there are {', '.join(TIMEFRAMES)}.")
    chosen = [_strategy(text, section.kinds()) for text in strategies or []] or section.build()
    return with_higher(chosen, timeframes or section.timeframes, section.risk.sizing())


def with_higher(strategies: Sequence[AnyStrategy], timeframes: Sequence[str], sizing: Sizing) -> Judged:
    """Strategies on timeframes. Raises UsageError when they cannot be used together."""
    try:
        higher = higher_of(prepare(strategies), timeframes).values()
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    together = {*timeframes}.union(*higher)
    return Judged(strategies, timeframes, [timeframe for timeframe in TIMEFRAMES if timeframe in together], sizing)


def _strategy(text: str, kinds: Mapping[str, type[AnyStrategy]]) -> AnyStrategy:
    """A strategy out of these by NAME[:k=v,...]; values are YAML. Raises UsageError."""
    name, _, given = text.partition(":")
    params, rest = {}, given
    while rest:
        found = PARAMETER.match(rest)
        if found is None:
            raise UsageError(f"--strategy {text!r}: {rest!r} is no parameter; write {name}:key=value,other=[1, 2].")
        params[found[1]] = yaml.safe_load(found[2])
        rest = rest[found.end() :]
    try:
        return build(name, params, kinds=kinds)
    except ValueError as error:
        raise UsageError(f"--strategy {text!r}: {error}.") from error
