"""Which strategies and timeframes a command judges: its options, and the configuration for the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml

from signal_engine.config import Settings
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
    """Strategies and the timeframes they look at."""

    strategies: Sequence[AnyStrategy]
    timeframes: Sequence[str]


def judged(config: Path | None, strategies: Sequence[str] | None, timeframes: Sequence[str] | None) -> Judged:
    """What the options ask for; the configuration says the rest. Raises UsageError, ConfigError."""
    section = load(Settings, environ=environment(config or DEMO_CONFIG, {})).signal_engine
    for timeframe in timeframes or []:
        if timeframe not in TIMEFRAMES:
            raise UsageError(f"--timeframe {timeframe!r} is none; there are {', '.join(TIMEFRAMES)}.")
    chosen = [_strategy(text) for text in strategies or []] or [choice.build() for choice in section.strategies]
    return Judged(chosen, timeframes or section.timeframes)


def moment(at_ms: int) -> str:
    """A time as a person reads it, UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _strategy(text: str) -> AnyStrategy:
    """A strategy by NAME[:k=v,...]; values are YAML. Raises UsageError."""
    name, _, given = text.partition(":")
    params, rest = {}, given
    while rest:
        found = PARAMETER.match(rest)
        if found is None:
            raise UsageError(f"--strategy {text!r}: {rest!r} is no parameter; write {name}:key=value,other=[1, 2].")
        params[found[1]] = yaml.safe_load(found[2])
        rest = rest[found.end() :]
    try:
        return build(name, params)
    except ValueError as error:
        raise UsageError(f"--strategy {text!r}: {error}.") from error
