"""Candle timeframes: their names and lengths. Boundaries are UTC, aligned to the Unix epoch."""

from __future__ import annotations

TIMEFRAME_MS: dict[str, int] = {
    "1s": 1_000,
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
"""Milliseconds of every timeframe a candle may have, shortest first; each divides the next."""

TIMEFRAMES = tuple(timeframe for timeframe in TIMEFRAME_MS if timeframe != "1s")
"""The timeframes every feed has, shortest first. Candles of 1s are made only where they are asked for."""
