"""Candle timeframes: their names, lengths and boundaries (all UTC, aligned to the Unix epoch)."""

from __future__ import annotations

TIMEFRAME_MS: dict[str, int] = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
"""Milliseconds per timeframe, shortest first."""

TIMEFRAMES = tuple(TIMEFRAME_MS)


def open_of(ts_ms: int, timeframe: str) -> int:
    """Open time of the candle that contains `ts_ms`. Raises KeyError for an unknown timeframe."""
    length = TIMEFRAME_MS[timeframe]
    return ts_ms // length * length


def longer_than(timeframe: str) -> tuple[str, ...]:
    """The timeframes that can be derived from this one, shortest first."""
    return TIMEFRAMES[TIMEFRAMES.index(timeframe) + 1 :]
