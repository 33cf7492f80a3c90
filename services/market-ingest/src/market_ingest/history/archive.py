"""One parquet file of candles: complete for a range of time, and it says for which.

Columns as `sources.files` reads them: exchange, symbol, timeframe, ts_ms (open time), open, high, low, close, volume.
A file under its name is complete: everything the exchange had in its range is in it. What is fetched so far waits
under another name. Both are written beside their place and renamed into it, so none is ever half written.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from market_ingest.columns import NO_CANDLES, Candles, join, uncounted
from market_ingest.history.paging import Key
from market_ingest.sources.files import UnreadableFile, read
from tocsin_common.subjects import encode_token

FROM, TO = "tocsin.from_ms", "tocsin.to_ms"
"""Metadata of a file: the range it is complete for, `from_ms <= open time < to_ms`."""


class Archive:
    """Candles of one kind from `from_ms` up to `to_ms`: nothing of the exchange's is missing in between."""

    def __init__(self, key: Key, from_ms: int, to_ms: int, candles: Candles = NO_CANDLES) -> None:
        self.key = key
        self.from_ms = from_ms
        self.to_ms = to_ms
        self._parts = [candles]

    @property
    def candles(self) -> Candles:
        self._parts = [join(self._parts)]
        return self._parts[0]

    def take(self, candles: Candles, to_ms: int) -> None:
        """The range goes on to `to_ms`, with these candles."""
        self._parts.append(candles)
        self.to_ms = to_ms

    def append(self, later: Archive) -> None:
        """The range goes on with another one that overlaps it or follows it at once."""
        candles = later.candles
        self.take(candles.rows(candles.open_ms >= self.to_ms), max(self.to_ms, later.to_ms))

    @property
    def holes(self) -> int:
        """Intervals between the first and the last candle that the exchange has none for."""
        open_ms = self.candles.open_ms
        if not len(open_ms):
            return 0
        return int(open_ms[-1] - open_ms[0]) // self.key.length_ms + 1 - len(open_ms)


def path_of(folder: Path, key: Key) -> Path:
    """`binance_BTC-USDT_1m.parquet`: the symbol is written as in subjects."""
    exchange, symbol = key.instrument
    return folder / f"{exchange}_{encode_token(symbol)}_{key.timeframe}.parquet"


def part_of(folder: Path, key: Key) -> Path:
    """Where a range waits that is not complete yet."""
    return path_of(folder, key).with_suffix(".part")


def load(path: Path, key: Key) -> Archive | None:
    """Read a file, None where there is none. Raises UnreadableFile for one that was not written here."""
    if not path.exists():
        return None
    try:
        told = pl.read_parquet_metadata(path)
        from_ms, to_ms = int(told[FROM]), int(told[TO])
    except (pl.exceptions.PolarsError, OSError, KeyError, ValueError) as error:
        raise UnreadableFile(
            f"{path}: is no file that `tocsin download` has written; move it away, or give another folder with --out."
        ) from error
    return Archive(key, from_ms, to_ms, _candles(path, key))


def save(archive: Archive, path: Path) -> None:
    """Write a file; whoever reads it meanwhile sees the old one or the new one. Raises UnreadableFile."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {FROM: str(archive.from_ms), TO: str(archive.to_ms)}
        _frame(archive).write_parquet(beside, compression="zstd", metadata=told)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UnreadableFile(
            f"{path}: cannot be written ({error.strerror}); give another folder with --out."
        ) from error


def _candles(path: Path, key: Key) -> Candles:
    rows = read(path).candles
    exchange, symbol = key.instrument
    names = rows.select("exchange", "symbol", "timeframe").unique().rows()
    if names != [(exchange, symbol, key.timeframe)]:
        raise UnreadableFile(f"{path}: holds {names}, not {symbol} of {exchange} in {key.timeframe}.")
    open_ms, *columns = (rows[name].to_numpy() for name in ("ts_ms", "open", "high", "low", "close", "volume"))
    first, high, low, close, volume = columns
    return Candles(open_ms.astype(np.int64), first, high, low, close, volume, uncounted(rows.height))


def _frame(archive: Archive) -> pl.DataFrame:
    candles, (exchange, symbol) = archive.candles, archive.key.instrument
    columns = {
        "ts_ms": candles.open_ms,
        "open": candles.open,
        "high": candles.high,
        "low": candles.low,
        "close": candles.close,
        "volume": candles.volume,
    }
    names = {"exchange": exchange, "symbol": symbol, "timeframe": archive.key.timeframe}
    frame = pl.DataFrame(columns).with_columns(**{name: pl.lit(value) for name, value in names.items()})
    return frame.select(*names, *columns)
