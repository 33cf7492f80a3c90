"""Numbers, times and names as a person reads them, in whatever language."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from decimal import Decimal

PRICE_DIGITS = 8
"""Significant digits of a price: more than any exchange's tick needs, fewer than a computed float carries."""

ACRONYMS = {"atr": "ATR", "ema": "EMA", "macd": "MACD", "rsi": "RSI", "sma": "SMA", "vwap": "VWAP"}


def price(value: float) -> str:
    """`64123.5` as `64,123.5`, `1.234e-05` as `0.00001234`."""
    digits = Decimal(repr(value)).normalize()
    if len(digits.as_tuple().digits) > PRICE_DIGITS:
        digits = Decimal(f"{value:.{PRICE_DIGITS}g}").normalize()
    return f"{digits:,f}"


def money(value: Decimal, *, signed: bool = False) -> str:
    """`10000.123` as `10,000.12`, or `+10,000.12`."""
    return f"{value:+,.2f}" if signed else f"{value:,.2f}"


def change(before: float, after: float) -> str:
    """`+1.37 %`; a change too small to show is `+0.00 %`."""
    return f"{(after / before - 1) * 100:+.2f} %"


def moment(ms: int, zone: tzinfo = UTC) -> str:
    """`2024-08-08 23:55 UTC`, with seconds where there are any."""
    when = datetime.fromtimestamp(ms / 1000, zone)
    return f"{when:%Y-%m-%d %H:%M:%S %Z}" if when.second else f"{when:%Y-%m-%d %H:%M %Z}"


def words(name: str) -> str:
    """A strategy's name as words: `ema_cross` becomes `EMA cross`."""
    parts = name.replace("-", "_").split("_")
    text = " ".join(ACRONYMS.get(part.lower(), part) for part in parts if part)
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Close a reason with a full stop and open it with a capital."""
    text = text.strip()
    return text if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
