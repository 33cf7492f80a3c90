"""What people write after a command, read strictly: symbols, lengths of time, hours, days. Pure."""

from __future__ import annotations

import re

from tocsin_common.documents import Hours

_SYMBOL = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(:[A-Z0-9]{1,20}(-[A-Z0-9]{1,12})*)?")
_BASE = re.compile(r"[A-Z0-9]{1,20}")
_QUOTES = ("USDT", "USDC", "USD", "BTC", "EUR", "IDR")
_LENGTH = re.compile(r"([1-9][0-9]{0,4})(m|min|h|d|w)")
_UNITS_S = {"m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_HOURS = re.compile(r"([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})")

LENGTH_MAX_S = 366 * 86_400
DAYS_MAX = 365


def symbol(text: str) -> str | None:
    """A unified symbol however it is written: `btc/usdt`, `BTC-USDT`, `BTCUSDT`, `btc`; None: it is none."""
    written = text.upper().strip()
    if "/" not in written and ":" not in written:
        written = _with_quote(written.replace("-", "/", 1).replace("_", "/", 1))
    return written if _SYMBOL.fullmatch(written) else None


def _with_quote(written: str) -> str:
    if "/" in written or not _BASE.fullmatch(written):
        return written
    for quote in _QUOTES:
        base = written.removesuffix(quote)
        if base and base != written:
            return f"{base}/{quote}"
    return f"{written}/{_QUOTES[0]}"


def length_s(text: str) -> int | None:
    """`30m`, `2h`, `3d`, `1w` in seconds, a year at most; None: it is no length of time."""
    found = _LENGTH.fullmatch(text.lower())
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    return seconds if 0 < seconds <= LENGTH_MAX_S else None


def days(text: str, *, default: int = 30) -> int | None:
    """A number of days from 1 to DAYS_MAX, `default` where nothing is written; None: it is none."""
    if not text:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= DAYS_MAX else None


def hours(span: str, zone: str) -> Hours | None:
    """`22:00-07:00` or `9:30-10:00`. Raises ValueError for a zone that is not known; None: it is no span."""
    found = _HOURS.fullmatch(span)
    if found is None:
        return None
    start, end = (part.rjust(5, "0") for part in found.groups())
    if start == end or max(start, end) > "23:59" or max(start[3:], end[3:]) > "59":
        return None
    return Hours(start=start, end=end, zone=zone)
