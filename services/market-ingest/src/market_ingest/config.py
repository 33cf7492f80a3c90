"""Settings of market-ingest: the section `market_ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tocsin_common.config import CommonSettings, Section
from tocsin_common.partitions.sharing import parse_ranges
from tocsin_trading.instruments import parse_symbol
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

MINUTE_MS = 60_000

MAX_LAG_MARKS = 10_000
"""More marks than these are not counted: a bound on what is remembered of them."""


class SimulatorSettings(Section):
    """A made-up market that looks like one, the same for the same seed."""

    kind: Literal["simulator"] = "simulator"
    seed: int = Field(default=1, ge=0, description="The same seed gives the same market.")
    symbols: list[str] = Field(
        default=["BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT", "XRP/USDT", "ADA/USDT", "DOGE/USDT", "LINK/USDT"],
        min_length=1,
        max_length=1000,
        description="Symbols traded on the exchange `simulator`.",
    )
    speed: float = Field(default=60.0, ge=0, description="Market time per real time; 0: as fast as possible.")
    trades_per_minute: float = Field(
        default=40.0, gt=0, le=10_000, description="Trades of one symbol in a market minute."
    )
    history_candles: int = Field(
        default=1000,
        ge=0,
        le=5000,
        description="Candles of each timeframe published first, so that indicators are warm.",
    )

    @field_validator("symbols")
    @classmethod
    def _are_symbols(cls, symbols: list[str]) -> list[str]:
        return _checked_symbols(symbols)


class ReplaySettings(Section):
    """Recorded trades and candles."""

    kind: Literal["replay"]
    files: list[Path] = Field(min_length=1, description="Trade and candle files, parquet or CSV.")
    speed: float = Field(default=0.0, ge=0, description="Market time per real time; 0: as fast as possible.")


class ExchangeSettings(Section):
    """One exchange, by its ccxt id."""

    symbols: list[str] = Field(
        min_length=1,
        description="ccxt unified symbols, and patterns such as `*/USDT` for all markets whose symbol matches.",
    )
    top: int | None = Field(
        default=None,
        ge=1,
        description="Of the markets patterns match, only so many with the largest 24 h quote volume.",
    )
    also: list[Literal["quotes", "funding", "tickers"]] = Field(
        default=[],
        description="What to collect beside trades: best bid and ask, funding rates and mark prices, 24 h tickers.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="More constructor options of ccxt, for example `urls` or `options`."
    )

    @field_validator("symbols")
    @classmethod
    def _are_symbols_or_patterns(cls, symbols: list[str]) -> list[str]:
        _checked_symbols([symbol for symbol in symbols if not is_pattern(symbol)])
        return symbols

    @model_validator(mode="after")
    def _top_needs_a_pattern(self) -> ExchangeSettings:
        if self.top is not None and not any(is_pattern(symbol) for symbol in self.symbols):
            raise ValueError("`top` chooses among the markets a pattern matches, and `symbols` has none")
        return self


class LiveSettings(Section):
    """Trades of real exchanges through ccxt.pro. Needs no credentials."""

    kind: Literal["live"]
    exchanges: dict[str, ExchangeSettings] = Field(min_length=1, description="Exchanges by ccxt id.")
    stale_after_s: float = Field(
        default=60.0,
        gt=0,
        description="A symbol without trades for this long (or for much longer than is usual for it) is looked up over "
        "REST: either nobody traded, or its stream has died and is replaced.",
    )
    repair_s: float = Field(
        default=120.0,
        gt=0,
        description="Trades wait at most this long for missing ones before them; then these are announced as lost. "
        "Looking up all 200 symbols of one Binance connection takes about 50 s.",
    )
    refresh_s: float = Field(
        default=900.0, gt=0, description="How often to look which markets are listed, delisted, or largest."
    )
    flush_ms: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Trades are stored no more often than this; those that arrive in between travel together.",
    )
    history_candles: int = Field(
        default=1000,
        ge=0,
        le=10_000,
        description="Candles of each timeframe fetched when an instrument is seen first, so that indicators are warm; "
        "at most 60 days of them. 0: none.",
    )
    reconcile_s: float = Field(
        default=900.0,
        ge=0,
        description="How often the closed candles of an instrument are compared with the exchange's own, and corrected "
        "where they differ, on the exchanges where they are comparable. 0: never.",
    )


class IngestSection(Section):
    """What to ingest, and the rules of closing."""

    source: Annotated[SimulatorSettings | ReplaySettings | LiveSettings, Field(discriminator="kind")] = (
        SimulatorSettings()
    )
    grace_ms: int = Field(
        default=2_000, ge=0, le=MINUTE_MS, description="A candle without later trades closes this long after its end."
    )
    gap_ms: int = Field(
        default=15 * MINUTE_MS,
        ge=0,
        description="Recorded silence of an instrument up to this is flat candles, beyond it a gap without candles.",
    )
    timeframes: list[Literal["1s", "1m", "5m", "15m", "1h", "4h", "1d"]] = Field(
        default=["1m", "5m", "15m", "1h", "4h", "1d"],
        description="Candles to make; `1s` may be added, the others are always made.",
    )
    partitions: str = Field(
        default="all",
        description="Which of the 64 partitions this replica of a live ingest may hold: `all`, or ranges such as "
        "`0-31`. Replicas share what they may hold evenly, and take over from one that is gone.",
    )
    max_lag_marks: int = Field(
        default=50,
        ge=0,
        lt=MAX_LAG_MARKS,
        description="Replay and simulator wait while signal-engine or paper-trader are more marks behind; 0: never.",
    )

    @field_validator("partitions")
    @classmethod
    def _are_partitions(cls, partitions: str) -> str:
        parse_ranges(partitions)
        return partitions

    @field_validator("timeframes")
    @classmethod
    def _are_all_but_seconds(cls, timeframes: list[str]) -> list[str]:
        missing = [timeframe for timeframe in TIMEFRAMES if timeframe not in timeframes]
        if missing:
            raise ValueError(f"{', '.join(missing)} cannot be left out: alerts, fills and longer candles need them")
        return [timeframe for timeframe in TIMEFRAME_MS if timeframe in timeframes]


class Settings(CommonSettings):
    market_ingest: IngestSection = IngestSection()


def is_pattern(symbol: str) -> bool:
    """Whether an entry of `symbols` stands for several."""
    return "*" in symbol


def _checked_symbols(symbols: list[str]) -> list[str]:
    for symbol in symbols:
        parse_symbol(symbol)
    if len(set(symbols)) != len(symbols):
        raise ValueError("a symbol is listed twice")
    return symbols
