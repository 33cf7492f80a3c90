"""Settings of market-ingest: the section `market_ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tocsin_common.config import CommonSettings, Section
from tocsin_trading.instruments import parse_symbol

MINUTE_MS = 60_000


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

    symbols: list[str] = Field(min_length=1, description="ccxt unified symbols.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="More constructor options of ccxt, for example `urls` or `options`."
    )

    @field_validator("symbols")
    @classmethod
    def _are_symbols(cls, symbols: list[str]) -> list[str]:
        return _checked_symbols(symbols)


class LiveSettings(Section):
    """Trades of real exchanges through ccxt.pro. Needs no credentials."""

    kind: Literal["live"]
    exchanges: dict[str, ExchangeSettings] = Field(min_length=1, description="Exchanges by ccxt id.")
    stale_after_s: float = Field(
        default=60.0, gt=0, description="An exchange that sends no trade for this long is stale, not quiet."
    )
    flush_ms: int = Field(default=5, ge=0, le=1000, description="Trades that arrive within this time travel together.")


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
    max_lag_marks: int = Field(
        default=50,
        ge=0,
        description="Replay and simulator wait while signal-engine or paper-trader are more marks behind; 0: never.",
    )


class Settings(CommonSettings):
    market_ingest: IngestSection = IngestSection()


def _checked_symbols(symbols: list[str]) -> list[str]:
    for symbol in symbols:
        parse_symbol(symbol)
    if len(set(symbols)) != len(symbols):
        raise ValueError("a symbol is listed twice")
    return symbols
