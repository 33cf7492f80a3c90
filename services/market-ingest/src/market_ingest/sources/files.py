"""Trade and candle files, parquet or CSV, read completely and checked before anything is published.

Layouts (columns; more are ignored):

- trades: `exchange, symbol, ts_ms, price, amount` and, if known, `side` (buy or sell) and `trade_id`;
- candles: `exchange, symbol, timeframe, ts_ms, open, high, low, close, volume`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from market_ingest.sources.table import TableWriter, TradeTable
from tocsin_common.errors import TocsinError
from tocsin_trading.timeframes import TIMEFRAMES

Kind = Literal["trades", "candles"]
Layout = dict[str, pl.DataType]
"""The columns of a file and their types."""

PIECE_ROWS = 2**18
"""Rows that are read at once: as many as most writers put into a row group at least."""

TRADE_COLUMNS: Layout = {
    "exchange": pl.String(),
    "symbol": pl.String(),
    "ts_ms": pl.Int64(),
    "price": pl.Float64(),
    "amount": pl.Float64(),
}
TRADE_OPTIONS: Layout = {"side": pl.String(), "trade_id": pl.String()}
CANDLE_COLUMNS: Layout = {
    "exchange": pl.String(),
    "symbol": pl.String(),
    "timeframe": pl.String(),
    "ts_ms": pl.Int64(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}
ALLOWED = {"side": ("buy", "sell"), "timeframe": TIMEFRAMES}


class UnreadableFile(TocsinError):
    """A file that cannot be replayed: one line with file, row, column and what was expected."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read, and the digest of its bytes: it holds trades, or candles with CANDLE_COLUMNS."""

    path: Path
    digest: str
    trades: TradeTable | None
    candles: pl.DataFrame


class _Raw(NamedTuple):
    """A file as it lies there: its rows come in pieces, with all the columns asked for that it has."""

    columns: list[str]
    rows: int
    pieces: Callable[[list[str]], Iterator[pl.DataFrame]]


def read(path: Path) -> File:
    """Read a file and check every value's type. Raises UnreadableFile."""
    digest = _digest(path)
    raw = _parquet(path) if _starts_with(path, b"PAR1") else _csv(path)
    kind, columns = _layout(path, raw.columns)
    if not raw.rows:
        raise UnreadableFile(f"{path}: holds no rows; there is nothing to replay.")
    if kind == "candles":
        return File(path, digest, None, pl.concat(_pieces(path, raw, columns, {})))
    writer = TableWriter(raw.rows)
    for piece in _pieces(path, raw, columns, TRADE_OPTIONS):
        writer.take(piece)
    return File(path, digest, writer.table(), pl.DataFrame(schema=CANDLE_COLUMNS))


def _pieces(path: Path, raw: _Raw, columns: Layout, options: Layout) -> Iterator[pl.DataFrame]:
    """The rows in pieces of a bounded size, each value of its column's type."""
    first = 0
    for piece in raw.pieces([name for name in raw.columns if name in {*columns, *options}]):
        series = [_typed(path, piece.get_column(name), wanted, first) for name, wanted in columns.items()]
        series += [
            _typed(path, piece.get_column(name), wanted, first, optional=True)
            if name in raw.columns
            else pl.Series(name, [None], dtype=wanted).extend_constant(None, piece.height - 1)
            for name, wanted in options.items()
        ]
        yield pl.DataFrame(series)
        first += piece.height


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


def _parquet(path: Path) -> _Raw:
    def pieces(columns: list[str]) -> Iterator[pl.DataFrame]:
        for first in range(0, rows, PIECE_ROWS):
            with _damage_named(path):
                piece = scan.select(columns).slice(first, PIECE_ROWS).collect()
            yield piece

    with _damage_named(path):
        scan = pl.scan_parquet(path, glob=False)
        rows = scan.select(pl.len()).collect().item()
        return _Raw(scan.collect_schema().names(), rows, pieces)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise UnreadableFile(f"{path}: is a damaged or cut-off parquet file ({_first_line(error)}).") from error


def _csv(path: Path) -> _Raw:
    try:
        rows = pl.read_csv(path, infer_schema=False, glob=False)
        return _Raw(rows.columns, rows.height, lambda columns: rows.select(columns).iter_slices(PIECE_ROWS))
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


def _layout(path: Path, columns: list[str]) -> tuple[Kind, Layout]:
    kind: Kind = "candles" if {"open", "high", "low", "close"} & set(columns) else "trades"
    wanted = CANDLE_COLUMNS if kind == "candles" else TRADE_COLUMNS
    missing = [name for name in wanted if name not in columns]
    if missing:
        found = ", ".join(columns)[:200]
        raise UnreadableFile(
            f"{path}: column {missing[0]!r} is missing; a file of {kind} has {', '.join(wanted)}, this one {found}."
        )
    return kind, wanted


def _typed(path: Path, raw: pl.Series, wanted: pl.DataType, first: int, *, optional: bool = False) -> pl.Series:
    """Convert a column from row `first` on; the first value that cannot be converted, or is not there, is the error."""
    if not _convertible(raw.dtype, wanted):
        raise UnreadableFile(
            f"{path}: row 1, column {raw.name!r}: {raw.dtype} was found, {_meaning(raw.name, wanted)} was expected."
        )
    series = raw if raw.dtype == wanted else raw.cast(wanted, strict=False)
    nulls = series.null_count()
    known = sum((series == name).sum() for name in ALLOWED[raw.name]) + nulls if raw.name in ALLOWED else len(series)
    if known == len(series) and nulls == (raw.null_count() if optional else 0):
        return series
    bad = series.is_null() & (raw.is_not_null() | (not optional))
    if raw.name in ALLOWED:
        bad |= ~series.is_in(ALLOWED[raw.name]) & series.is_not_null()
    row = bad.arg_max() or 0
    found = "nothing" if raw[row] is None else f"{str(raw[row])[:80]!r}"
    where = f"row {first + row + 1}, column {raw.name!r}"
    raise UnreadableFile(f"{path}: {where}: {found} was found, {_meaning(raw.name, wanted)} was expected.")


def _convertible(found: pl.DataType, wanted: pl.DataType) -> bool:
    if wanted == pl.String:
        return found in (pl.String, pl.Categorical, pl.Enum) or found.is_integer() or found == pl.Null
    if wanted == pl.Int64:
        return found.is_integer() or found == pl.String
    return found.is_numeric() or found == pl.String


def _meaning(name: str, wanted: pl.DataType) -> str:
    """What is expected of a value, in words."""
    if name in ALLOWED:
        return f"one of {', '.join(ALLOWED[name])}"
    if wanted == pl.String:
        return "text"
    return "a whole number" if wanted == pl.Int64 else "a number"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
