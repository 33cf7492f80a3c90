"""A signal on which two lists do not agree, as a person reads it and as JSON."""

from __future__ import annotations

from signal_engine.comparison import Mismatch
from tocsin.moments import moment

NAMES = ("strategy", "exchange", "symbol", "timeframe", "candle_open_ms", "confirmed_ms", "signal_id")


def document(mismatch: Mismatch, left: str, right: str) -> dict[str, object]:
    """Which signal, the first field that differs, and both its values by the names of the lists."""
    field, *values = mismatch.difference
    return {
        **{name: getattr(mismatch.signal, name) for name in NAMES},
        "field": field,
        left: values[0],
        right: values[1],
    }


def place(mismatch: Mismatch) -> str:
    """Which candle it is."""
    signal = mismatch.signal
    return f"{signal.symbol} {signal.timeframe}, candle of {moment(signal.candle_open_ms)}"


def both(mismatch: Mismatch, left: str, right: str) -> str:
    """The first field that differs with both its values; `left` and `right` say where each is."""
    field, first, second = mismatch.difference
    return f"{field} is {_value(first)} {left}, {_value(second)} {right}"


def _value(value: object) -> str:
    return "none" if value is None else str(value)
