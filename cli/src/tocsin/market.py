"""Which market a run is fed from: the options of `up` and `replay` as configuration values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from market_ingest.config import LiveSettings, ReplaySettings, Settings, SimulatorSettings
from market_ingest.sources.replay import FilesSummary
from tocsin.console import UsageError
from tocsin_common.bus.protocol import Bus
from tocsin_common.config import load
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK
from tocsin_common.subjects import clock

SECTION = "market_ingest.source"

AnySource = SimulatorSettings | ReplaySettings | LiveSettings


class SourceKind(StrEnum):
    """What the market comes from."""

    SIMULATOR = "simulator"
    REPLAY = "replay"
    LIVE = "live"


def overrides(
    kind: SourceKind | None,
    files: Sequence[Path],
    *,
    speed: float | None = None,
    seed: int | None = None,
    exchange: str | None = None,
    symbols: str | None = None,
) -> dict[str, str]:
    """Configuration values for the options given. Raises UsageError when they do not go together.

    A `kind` replaces the configured source; without one the other options change the configured source.
    """
    if files and kind is not SourceKind.REPLAY:
        raise UsageError("Files are only read with --source replay; for a whole replay see `tocsin replay --help`.")
    if kind is SourceKind.REPLAY and not files:
        raise UsageError("--source replay needs at least one trade or candle file.")
    if exchange and kind is not SourceKind.LIVE:
        raise UsageError("--exchange goes with --source live.")
    if kind is SourceKind.LIVE:
        return {SECTION: json.dumps(_live(exchange, symbols, speed, seed))}
    given: dict[str, Any] = {"speed": speed, "seed": seed, "symbols": listed(symbols) if symbols else None}
    given = {name: value for name, value in given.items() if value is not None}
    if files:
        given["files"] = [str(path.resolve()) for path in files]
    if kind is not None:
        return {SECTION: json.dumps({"kind": kind.value, **given})}
    return {f"{SECTION}.{name}": json.dumps(value) for name, value in given.items()}


def configured(environ: Mapping[str, str]) -> AnySource:
    """The source a configuration asks for. Raises ConfigError."""
    return load(Settings, environ=environ).market_ingest.source


def in_words(source: AnySource) -> str:
    """What a source is, for a person."""
    if isinstance(source, LiveSettings):
        markets = ", ".join(f"{name} ({len(one.symbols)} symbols)" for name, one in source.exchanges.items())
        return f"live: {markets}"
    pace = f"at {source.speed:g}x" if source.speed else "as fast as possible"
    if isinstance(source, ReplaySettings):
        return f"replay of {len(source.files)} files {pace}"
    return f"simulated market, {len(source.symbols)} symbols {pace}"


async def refuse_another_market(bus: Bus, kind: str, files: FilesSummary | None = None) -> None:
    """One data directory holds one market. Raises UsageError when its streams hold another kind of market.

    `files`: recorded files to be replayed; market time cannot go back behind what other files brought.
    """
    newest = await bus.last(CLOCK, clock("market"))
    mark = newest.event() if newest else None
    if not isinstance(mark, ClockAdvanced):
        return
    stored = mark.source.partition(":")[0]
    if stored != kind:
        raise UsageError(
            f"The streams hold a {stored} market ({mark.source}); a {kind} market would be mixed into it. "
            "Give another directory with --data-dir, or forget the old one (`make clean`)."
        )
    if files is not None and files.source_id != mark.source and files.from_ms < mark.time_ms:
        raise UsageError(
            f"The streams hold a replay of other files ({mark.source}) that came to market time {mark.time_ms}, and "
            f"these begin before it, at {files.from_ms}. Give another directory with --data-dir."
        )


def _live(exchange: str | None, symbols: str | None, speed: float | None, seed: int | None) -> dict[str, Any]:
    if not exchange or not symbols:
        raise UsageError(
            "--source live needs --exchange and --symbols, for example: --exchange binance --symbols BTC/USDT,ETH/USDT "
            "(more than one exchange with different symbols: in a configuration file)."
        )
    if speed is not None or seed is not None:
        raise UsageError("--speed and --seed do not apply to --source live: it runs at the market's own pace.")
    return {"kind": "live", "exchanges": {name: {"symbols": listed(symbols)} for name in listed(exchange)}}


def listed(text: str) -> list[str]:
    """The names in a list separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
