"""Rows of several files merged into one order of events, and cut into chunks.

A trade happens at `ts_ms`, a candle becomes known when it closes. Of what happens at the same millisecond candles
come before trades and longer candles before shorter ones; trades keep the order of their files, which are taken in
the order of their digests. So the order depends on the contents alone, and a position in it means the same after a
restart.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from market_ingest.columns import CandleRows, Candles, Instrument, Ints, TradeRows, Trades, uncounted
from market_ingest.sources.files import CANDLE_COLUMNS, File, UnreadableFile, read
from market_ingest.sources.ids import in_order, rising
from market_ingest.sources.order import Flags, Keys, Order, key_starts, only_rises
from market_ingest.sources.table import TradeTable, join_tables, name_runs
from market_ingest.validate import (
    ACCEPTED,
    BAD_SYMBOL,
    BAD_TIME,
    BITCOIN_GENESIS_MS,
    DUPLICATE,
    REASONS,
    Codes,
    check_candles,
    check_instrument,
    check_trades,
)
from tocsin_trading.timeframes import TIMEFRAME_MS

ORDER_VERSION = "1"
"""Part of the fingerprint: a change of the order below must not continue positions of before."""

_LONGEST_FIRST = tuple(sorted(TIMEFRAME_MS, key=lambda timeframe: -TIMEFRAME_MS[timeframe]))
_RANKS = {timeframe: rank for rank, timeframe in enumerate(_LONGEST_FIRST)}


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happens between two positions: accepted rows by instrument, the others counted by reason."""

    trades: list[TradeRows]
    candles: list[CandleRows]
    trades_rejected: dict[str, int]
    candles_rejected: dict[str, int]
    duplicates: int


class Timeline:
    """All rows of some files in the order of their happening. `at_ms[i]` is when row i happens."""

    def __init__(self, files: Sequence[File], now_ms: int) -> None:
        files = sorted(files, key=lambda file: file.digest)
        _refuse_copies(files)
        self.fingerprint = _fingerprint(files)
        trades = join_tables([file.trades for file in files if file.trades is not None])
        candles = pl.concat([pl.DataFrame(schema=CANDLE_COLUMNS), *(file.candles for file in files)])
        candle_names, candle_runs = name_runs(candles)
        pairs = pl.concat([trades.names, candle_names]).unique().sort("exchange", "symbol")
        self._all = [Instrument(*row) for row in pairs.iter_rows()]
        problems = [check_instrument(instrument) for instrument in self._all]
        self.instruments = [item for item, problem in zip(self._all, problems, strict=True) if problem is None]
        named = np.array([problem is None for problem in problems], np.bool_)
        self._trades, self._trade_order = _trade_table(trades, _keys(trades.names, pairs), named, now_ms)
        closed = np.repeat(_keys(candle_names, pairs), candle_runs)
        self._candles, self._candle_order = _candle_table(candles, closed, named, now_ms)
        self.at_ms, self._before = self._merge()

    def __len__(self) -> int:
        return len(self.at_ms)

    @property
    def rows(self) -> tuple[int, int]:
        """How many trades and how many candles there are."""
        return len(self._trade_order.at_ms), len(self._candle_order.at_ms)

    def between(self, first: int, end: int) -> Stretch:
        """The rows `first <= i < end`."""
        trades = slice(self._trades_before(first), self._trades_before(end))
        candles = slice(first - trades.start, end - trades.stop)
        traded, trades_rejected = self._trade_order.between(trades)
        closed, candles_rejected = self._candle_order.between(candles)
        duplicates = trades_rejected.pop(REASONS[DUPLICATE], 0)
        return Stretch(
            [TradeRows(self._all[key], self._trades.rows(*where)) for key, where in traded],
            [self._candle_rows(key, slice(*where)) for key, where in closed],
            trades_rejected,
            candles_rejected,
            duplicates,
        )

    def _candle_rows(self, key: int, where: slice) -> CandleRows:
        instrument, timeframe = divmod(key, len(_LONGEST_FIRST))
        return CandleRows(self._all[instrument], _LONGEST_FIRST[timeframe], "exchange", self._candles.rows(where))

    def _trades_before(self, at: int) -> int:
        """How many of the rows before this position are trades."""
        return at if self._before is None else int(self._before[at])

    def _merge(self) -> tuple[Ints, Ints | None]:
        """When each row happens, and how many of the rows before each position are trades; None: all of them."""
        if not len(self._candle_order.at_ms):
            return self._trade_order.at_ms, None
        at_ms = np.concatenate((self._candle_order.at_ms, self._trade_order.at_ms))
        order = np.argsort(at_ms, kind="stable")
        return at_ms[order], np.concatenate(([0], np.cumsum(order >= len(self._candle_order.at_ms))))


def load(paths: Sequence[Path], now_ms: int) -> Timeline:
    """Read files and merge them. Raises UnreadableFile."""
    return Timeline([read(path) for path in paths], now_ms)


def _refuse_copies(files: Sequence[File]) -> None:
    for file, following in itertools.pairwise(files):
        if file.digest == following.digest:
            raise UnreadableFile(f"{following.path}: has the same content as {file.path}; give it once.")


def _fingerprint(files: Sequence[File]) -> str:
    digest = hashlib.blake2b(ORDER_VERSION.encode(), digest_size=8)
    for file in files:
        digest.update(file.digest.encode())
    return digest.hexdigest()


def _keys(names: pl.DataFrame, pairs: pl.DataFrame) -> Keys:
    """For each of these names, its place among all pairs of names."""
    numbered = pairs.with_columns(key=pl.int_range(pairs.height, dtype=pl.Int32))
    keys: Keys = names.join(numbered, on=["exchange", "symbol"], maintain_order="left")["key"].to_numpy()
    return keys


def _trade_table(table: TradeTable, keys: Keys, named: Flags, now_ms: int) -> tuple[Trades, Order]:
    """The accepted trades by instrument; `keys` are those of the table's runs."""
    code = check_trades(table.ts_ms, table.price, table.amount, now_ms)
    starts = key_starts(keys, table.runs, len(named))
    if starts is not None and named.all() and not code.any() and _in_order(table, starts):
        trades = Trades(table.ts_ms, table.price, table.amount, table.side, in_order(table.ids, None))
        return trades, Order.as_it_is(starts, table.ts_ms)
    instrument = np.repeat(keys, table.runs)
    if not named.all():
        code[~named[instrument]] = BAD_SYMBOL
    if not isinstance(table.ids, np.ndarray) or not rising(instrument, table.ids):
        code[(code == ACCEPTED) & _repeats(instrument, table)] = DUPLICATE
    order = Order.of(instrument, len(named), code, _happening_ms(table.ts_ms, code))
    rows = order.accepted_rows
    columns = (table.ts_ms[rows], table.price[rows], table.amount[rows], table.side[rows])
    return Trades(*columns, in_order(table.ids, rows)), order


def _in_order(table: TradeTable, starts: Sequence[int]) -> bool:
    """Whether times only rise within each instrument, and ids do, so that no trade is there twice."""
    if not only_rises(table.ts_ms, starts, strictly=False) or not isinstance(table.ids, np.ndarray):
        return False
    return only_rises(table.ids, starts, strictly=True)


def _candle_table(frame: pl.DataFrame, instrument: Keys, named: Flags, now_ms: int) -> tuple[Candles, Order]:
    rank = frame["timeframe"].replace_strict(_RANKS, return_dtype=pl.Int32).to_numpy()
    if (rank[1:] < rank[:-1]).any():
        longest_first = np.argsort(rank, kind="stable")
        frame, rank, instrument = frame[longest_first], rank[longest_first], instrument[longest_first]
    lengths = frame["timeframe"].replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64).to_numpy()
    names = ("ts_ms", "open", "high", "low", "close", "volume")
    open_ms, first, high, low, close, volume = (frame[name].to_numpy() for name in names)
    candles = Candles(open_ms, first, high, low, close, volume, uncounted(len(open_ms)))
    code = check_candles(candles, lengths, now_ms)
    code[~named[instrument]] = BAD_SYMBOL
    at_ms = _happening_ms(open_ms + lengths, code)
    key = instrument * np.int32(len(_LONGEST_FIRST)) + rank
    order = Order.of(key, len(named) * len(_LONGEST_FIRST), code, at_ms)
    return candles.rows(order.accepted_rows), order


def _happening_ms(at_ms: Ints, code: Codes) -> Ints:
    """When each row happens; impossible times must not move the clock and go to the beginning."""
    possible = code != BAD_TIME
    if possible.all():
        return at_ms
    beginning_ms = int(at_ms[possible].min()) if possible.any() else BITCOIN_GENESIS_MS
    return np.where(possible, at_ms, beginning_ms)


def _repeats(instrument: Keys, table: TradeTable) -> Flags:
    """Trades that are in the files twice: the same id at the same time. Without ids nothing can be told."""
    columns = pl.DataFrame({"instrument": instrument, "ts_ms": table.ts_ms, "trade_id": table.ids})
    first = pl.struct("instrument", "ts_ms", "trade_id").is_first_distinct()
    return columns.select(~first & pl.col("trade_id").is_not_null()).to_series().to_numpy()
