"""Rows of several files merged into one order of events, and cut into chunks.

A trade happens at `ts_ms`, a candle becomes known when it closes. Of what happens at the same millisecond candles
come before trades and longer candles before shorter ones; trades keep the order of their files, which are taken in
the order of their digests. So the order depends on the contents alone, and a position in it means the same after a
restart.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_ingest.columns import CandleRows, Candles, Instrument, Ints, TradeRows, Trades, uncounted
from market_ingest.sources.files import CANDLE_COLUMNS, TRADE_COLUMNS, TRADE_OPTIONS, File, UnreadableFile, read
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

_SIDES = {"buy": ord("b"), "sell": ord("s")}
_LONGEST_FIRST = tuple(sorted(TIMEFRAME_MS, key=lambda timeframe: -TIMEFRAME_MS[timeframe]))


@dataclass(frozen=True, slots=True)
class _TradeTable:
    trades: Trades
    trade_id: pl.Series
    instrument: NDArray[np.int32]
    code: Codes
    at_ms: Ints


@dataclass(frozen=True, slots=True)
class _CandleTable:
    candles: Candles
    key: NDArray[np.int32]
    code: Codes
    at_ms: Ints


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
        trades, candles = _stack(files, "trades"), _stack(files, "candles")
        names = pl.concat([trades.select("exchange", "symbol"), candles.select("exchange", "symbol")])
        pairs = names.unique().sort("exchange", "symbol")
        self._all = [Instrument(*row) for row in pairs.iter_rows()]
        problems = [check_instrument(instrument) for instrument in self._all]
        self.instruments = [item for item, problem in zip(self._all, problems, strict=True) if problem is None]
        pairs = pairs.with_columns(
            instrument=pl.int_range(pairs.height, dtype=pl.Int32), named=pl.Series([p is None for p in problems])
        )
        self._trades = _trade_table(trades.join(pairs, on=["exchange", "symbol"], maintain_order="left"), now_ms)
        self._candles = _candle_table(candles.join(pairs, on=["exchange", "symbol"], maintain_order="left"), now_ms)
        self.at_ms, self._trades_before = self._merge()

    def __len__(self) -> int:
        return len(self.at_ms)

    @property
    def rows(self) -> tuple[int, int]:
        """How many trades and how many candles there are."""
        return len(self._trades.code), len(self._candles.code)

    def between(self, first: int, end: int) -> Stretch:
        """The rows `first <= i < end`."""
        trades = slice(int(self._trades_before[first]), int(self._trades_before[end]))
        candles = slice(first - trades.start, end - trades.stop)
        trades_rejected = _rejected(self._trades.code[trades])
        duplicates = trades_rejected.pop(REASONS[DUPLICATE], 0)
        return Stretch(
            self._trade_rows(trades),
            self._candle_rows(candles),
            trades_rejected,
            _rejected(self._candles.code[candles]),
            duplicates,
        )

    def _merge(self) -> tuple[Ints, Ints]:
        """When each row happens, and how many of the rows before each position are trades."""
        at_ms = np.concatenate((self._candles.at_ms, self._trades.at_ms))
        order = np.argsort(at_ms, kind="stable")
        return at_ms[order], np.concatenate(([0], np.cumsum(order >= len(self._candles.at_ms))))

    def _trade_rows(self, part: slice) -> list[TradeRows]:
        table, trades = self._trades, self._trades.trades
        chosen, groups = _groups(table.instrument[part], table.code[part])
        where = chosen + part.start
        columns = (trades.ts_ms[where], trades.price[where], trades.amount[where], trades.side[where])
        ids: list[str | None] = table.trade_id.gather(where).to_list() if len(where) else []
        whole = Trades(*columns, ids)
        return [TradeRows(self._all[code], whole.rows(first, end)) for code, first, end in groups]

    def _candle_rows(self, part: slice) -> list[CandleRows]:
        table = self._candles
        chosen, groups = _groups(table.key[part], table.code[part])
        whole = table.candles.rows(chosen + part.start)
        found = []
        for key, first, end in groups:
            instrument, timeframe = divmod(key, len(_LONGEST_FIRST))
            candles = whole.rows(slice(first, end))
            found.append(CandleRows(self._all[instrument], _LONGEST_FIRST[timeframe], "exchange", candles))
        return found


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


def _stack(files: Sequence[File], kind: str) -> pl.DataFrame:
    schema = {**TRADE_COLUMNS, **TRADE_OPTIONS} if kind == "trades" else CANDLE_COLUMNS
    return pl.concat([pl.DataFrame(schema=schema), *(file.rows for file in files if file.kind == kind)])


def _trade_table(frame: pl.DataFrame, now_ms: int) -> _TradeTable:
    ts_ms, price, amount = (frame[name].to_numpy() for name in ("ts_ms", "price", "amount"))
    code = check_trades(ts_ms, price, amount, now_ms)
    code[~frame["named"].to_numpy()] = BAD_SYMBOL
    code[(code == ACCEPTED) & _repeats(frame)] = DUPLICATE
    side = frame["side"].replace_strict(_SIDES, default=ord("-"), return_dtype=pl.UInt8).to_numpy()
    at_ms = _happening_ms(ts_ms, code)
    order = np.argsort(at_ms, kind="stable")
    trades = Trades(ts_ms[order], price[order], amount[order], side[order], [])
    instrument = frame["instrument"].to_numpy()[order]
    return _TradeTable(trades, frame["trade_id"].gather(order), instrument, code[order], at_ms[order])


def _candle_table(frame: pl.DataFrame, now_ms: int) -> _CandleTable:
    rank = frame["timeframe"].replace_strict(dict(zip(_LONGEST_FIRST, range(6), strict=True)), return_dtype=pl.Int32)
    lengths = frame["timeframe"].replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64).to_numpy()
    names = ("ts_ms", "open", "high", "low", "close", "volume")
    open_ms, first, high, low, close, volume = (frame[name].to_numpy() for name in names)
    candles = Candles(open_ms, first, high, low, close, volume, uncounted(len(open_ms)))
    code = check_candles(candles, lengths, now_ms)
    code[~frame["named"].to_numpy()] = BAD_SYMBOL
    at_ms = _happening_ms(open_ms + lengths, code)
    order = np.lexsort((rank.to_numpy(), at_ms))
    key = frame["instrument"].to_numpy() * np.int32(len(_LONGEST_FIRST)) + rank.to_numpy()
    return _CandleTable(candles.rows(order), key[order], code[order], at_ms[order])


def _happening_ms(at_ms: Ints, code: Codes) -> Ints:
    """When each row happens; impossible times must not move the clock and go to the beginning."""
    possible = code != BAD_TIME
    beginning_ms = int(at_ms[possible].min()) if possible.any() else BITCOIN_GENESIS_MS
    return np.where(possible, at_ms, beginning_ms)


def _repeats(frame: pl.DataFrame) -> NDArray[np.bool_]:
    """Trades that are in the files twice: the same id at the same time. Without ids nothing can be told."""
    first = pl.struct("instrument", "ts_ms", "trade_id").is_first_distinct()
    return frame.select(~first & pl.col("trade_id").is_not_null()).to_series().to_numpy()


def _groups(keys: NDArray[np.int32], code: Codes) -> tuple[Ints, list[tuple[int, int, int]]]:
    """Accepted rows sorted by key, order kept within one: their indices, and (key, first, end) of each run."""
    accepted = np.flatnonzero(code == ACCEPTED)
    order = accepted[np.argsort(keys[accepted], kind="stable")]
    found = keys[order]
    starts = np.flatnonzero(np.diff(found, prepend=-1))
    ends = np.append(starts[1:], len(found))
    return order, list(zip(found[starts].tolist(), starts.tolist(), ends.tolist(), strict=False))


def _rejected(code: Codes) -> dict[str, int]:
    counts = Counter(dict(enumerate(np.bincount(code, minlength=len(REASONS)).tolist())))
    return {REASONS[reason]: rows for reason, rows in counts.items() if rows and reason != ACCEPTED}
