"""Trade and candle files, parquet or CSV, read completely and checked before anything is published.

Layouts (columns; more are ignored):

- trades: `exchange, symbol, ts_ms, price, amount` and, if known, `side` (buy or sell) and `trade_id`;
- candles: `exchange, symbol, timeframe, ts_ms, open, high, low, close, volume`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from tocsin_common.errors import TocsinError
from tocsin_trading.timeframes import TIMEFRAMES

Kind = Literal["trades", "candles"]

TRADE_COLUMNS: dict[str, type[pl.DataType]] = {
    "exchange": pl.String,
    "symbol": pl.String,
    "ts_ms": pl.Int64,
    "price": pl.Float64,
    "amount": pl.Float64,
}
TRADE_OPTIONS: dict[str, type[pl.DataType]] = {"side": pl.String, "trade_id": pl.String}
CANDLE_COLUMNS: dict[str, type[pl.DataType]] = {
    "exchange": pl.String,
    "symbol": pl.String,
    "timeframe": pl.String,
    "ts_ms": pl.Int64,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
}
MEANINGS: dict[type[pl.DataType], str] = {
    pl.String: "text",
    pl.Int64: "a whole number",
    pl.Float64: "a number",
}
ALLOWED = {"side": ("buy", "sell"), "timeframe": TIMEFRAMES}


class UnreadableFile(TocsinError):
    """A file that cannot be replayed: one line with file, row, column and what was expected."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read: its rows with the columns of its layout, and the digest of its bytes."""

    path: Path
    kind: Kind
    digest: str
    rows: pl.DataFrame


def read(path: Path) -> File:
    """Read a file and check every value's type. Raises UnreadableFile."""
    digest = _digest(path)
    is_parquet = _starts_with(path, b"PAR1")
    raw = _parquet(path) if is_parquet else _csv(path)
    kind, columns = _layout(path, raw.columns)
    if not raw.height:
        raise UnreadableFile(f"{path}: holds no rows; there is nothing to replay.")
    series = [_typed(path, raw.get_column(name), wanted) for name, wanted in columns.items()]
    if kind == "trades":
        series += [
            _typed(path, raw.get_column(name), wanted, optional=True)
            if name in raw.columns
            else pl.Series(name, [None], dtype=wanted).extend_constant(None, raw.height - 1)
            for name, wanted in TRADE_OPTIONS.items()
        ]
    return File(path, kind, digest, pl.DataFrame(series))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read ({error.strerror}); give a .parquet or .csv file.") from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        head = file.read(len(magic))
    if not head:
        raise UnreadableFile(f"{path}: is empty; there is nothing to replay.")
    if path.suffix == ".parquet" and head != magic:
        raise UnreadableFile(f"{path}: is not a parquet file, whatever its name says.")
    return head == magic


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise UnreadableFile(f"{path}: is a damaged or cut-off parquet file ({_first_line(error)}).") from error


def _csv(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError, OSError) as error:
        where = _ragged_row(path) or f"is not a readable CSV file ({_first_line(error)})"
        raise UnreadableFile(f"{path}: {where}.") from error


def _ragged_row(path: Path) -> str | None:
    """Where a row has more fields than the header, in words."""
    opened = gzip.open if _starts_with(path, b"\x1f\x8b") else open
    try:
        with opened(path, "rt", newline="") as text:
            rows = csv.reader(text)
            width = len(next(rows))
            for number, row in enumerate(rows, 1):
                if len(row) > width:
                    return f"row {number} has {len(row)} fields, the header {width}"
    except (OSError, ValueError, csv.Error, StopIteration):
        return None
    return None


def _layout(path: Path, columns: list[str]) -> tuple[Kind, dict[str, type[pl.DataType]]]:
    kind: Kind = "candles" if {"open", "high", "low", "close"} & set(columns) else "trades"
    wanted = CANDLE_COLUMNS if kind == "candles" else TRADE_COLUMNS
    missing = [name for name in wanted if name not in columns]
    if missing:
        found = ", ".join(columns)[:200]
        raise UnreadableFile(
            f"{path}: column {missing[0]!r} is missing; a file of {kind} has {', '.join(wanted)}, this one {found}."
        )
    return kind, wanted


def _typed(path: Path, raw: pl.Series, wanted: type[pl.DataType], *, optional: bool = False) -> pl.Series:
    """Convert a column; the first value that cannot be converted, or is not there, is the error."""
    if not _convertible(raw.dtype, wanted):
        raise UnreadableFile(
            f"{path}: row 1, column {raw.name!r}: {raw.dtype} was found, {MEANINGS[wanted]} was expected."
        )
    series = raw.cast(wanted, strict=False)
    bad = series.is_null() & (raw.is_not_null() | (not optional))
    if raw.name in ALLOWED:
        bad |= ~series.is_in(ALLOWED[raw.name]) & series.is_not_null()
    row = bad.arg_max() if bad.any() else None
    if row is not None:
        expected = f"one of {', '.join(ALLOWED[raw.name])}" if raw.name in ALLOWED else MEANINGS[wanted]
        value = raw[row]
        found = "nothing" if value is None else f"{str(value)[:80]!r}"
        raise UnreadableFile(f"{path}: row {row + 1}, column {raw.name!r}: {found} was found, {expected} was expected.")
    return series


def _convertible(found: pl.DataType, wanted: type[pl.DataType]) -> bool:
    if wanted == pl.String:
        return found in (pl.String, pl.Categorical, pl.Enum) or found.is_integer() or found == pl.Null
    if wanted == pl.Int64:
        return found.is_integer() or found == pl.String
    return found.is_numeric() or found == pl.String


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
