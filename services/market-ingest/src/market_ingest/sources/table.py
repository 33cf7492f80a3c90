"""Trades of files as narrow columns, filled piece by piece.

Text becomes numbers before the next piece is read: names are kept once per run of rows, sides as one byte, ids that
are plain numbers as such. A row takes 33 bytes instead of 120, and all pieces use the memory of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from market_ingest.columns import Floats, Ints
from market_ingest.sources.ids import Ids, join_ids, plain_numbers
from market_ingest.validate import Codes

NAMES = {"exchange": pl.String, "symbol": pl.String}

_BOUGHT, _SOLD, _UNKNOWN = np.frombuffer(b"bs-", np.uint8)


@dataclass(frozen=True, slots=True)
class TradeTable:
    """Trades in the order of their files: `runs[i]` of them in a row are of the instrument `names[i]` (exchange,
    symbol). `side` is as in `Trades`."""

    names: pl.DataFrame
    runs: Ints
    ts_ms: Ints
    price: Floats
    amount: Floats
    side: Codes
    ids: Ids

    def __len__(self) -> int:
        return len(self.ts_ms)


class TableWriter:
    """Fills a table of `rows` trades with pieces of the columns of `files.TRADE_COLUMNS` and `TRADE_OPTIONS`."""

    def __init__(self, rows: int) -> None:
        self._ts_ms = np.empty(rows, np.int64)
        self._price = np.empty(rows, np.float64)
        self._amount = np.empty(rows, np.float64)
        self._side = np.empty(rows, np.uint8)
        self._numbers = np.empty(rows, np.int64)
        self._texts: list[pl.Series] = []
        self._names = [pl.DataFrame(schema=NAMES)]
        self._runs = [np.empty(0, np.int64)]
        self._filled = 0

    def take(self, piece: pl.DataFrame) -> None:
        """Put a piece behind what is there."""
        end = self._filled + piece.height
        part = slice(self._filled, end)
        names, runs = name_runs(piece)
        self._names.append(names)
        self._runs.append(runs)
        self._ts_ms[part] = piece["ts_ms"].to_numpy()
        self._price[part] = piece["price"].to_numpy()
        self._amount[part] = piece["amount"].to_numpy()
        self._side[part] = _sides(piece["side"])
        self._take_ids(piece["trade_id"], part)
        self._filled = end

    def table(self) -> TradeTable:
        """The table, when it is full."""
        names, runs = pl.concat(self._names), np.concatenate(self._runs)
        ids = join_ids(self._texts) if self._texts else self._numbers
        return TradeTable(names, runs, self._ts_ms, self._price, self._amount, self._side, ids)

    def _take_ids(self, ids: pl.Series, part: slice) -> None:
        """As numbers as long as all of them are plain ones, from then on as text."""
        numbers = None if self._texts else plain_numbers(ids)
        if numbers is not None:
            self._numbers[part] = numbers
            return
        if not self._texts and part.start:
            self._texts.append(pl.Series(self._numbers[: part.start]).cast(pl.String))
        self._texts.append(ids)


def join_tables(tables: Sequence[TradeTable]) -> TradeTable:
    """Put tables one behind the other."""
    if len(tables) == 1:
        return tables[0]
    tables = tables or [TableWriter(0).table()]
    return TradeTable(
        pl.concat([table.names for table in tables]),
        np.concatenate([table.runs for table in tables]),
        np.concatenate([table.ts_ms for table in tables]),
        np.concatenate([table.price for table in tables]),
        np.concatenate([table.amount for table in tables]),
        np.concatenate([table.side for table in tables]),
        join_ids([table.ids for table in tables]),
    )


def name_runs(frame: pl.DataFrame) -> tuple[pl.DataFrame, Ints]:
    """Rows of one instrument mostly follow each other: the names of each such run, and how many rows it has."""
    names = frame.select(*NAMES)
    changes = np.zeros(max(frame.height - 1, 0), np.bool_)
    for column in names:
        if frame.height and not (column == column[0]).all():
            changes |= (column[1:] != column[:-1]).to_numpy()
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))[: frame.height]
    return names[starts.tolist()], np.diff(starts, append=frame.height)


def _sides(side: pl.Series) -> Codes:
    """`b` taker bought, `s` taker sold, `-` unknown; `side` holds nothing but `buy`, `sell` and nulls."""
    bought = (side == "buy").fill_null(value=False).to_numpy()
    codes: Codes = _SOLD - bought.view(np.uint8) * np.uint8(_SOLD - _BOUGHT)
    if side.null_count():
        codes[side.is_null().to_numpy()] = _UNKNOWN
    return codes
