"""The market as a whole: candles of all its symbols together, beside the candles of each.

A market is what an exchange quotes in one currency. A candle of it counts the symbols that closed above their open and
below it, and has the prices of the market's reference, which is bitcoin in that currency: null where it has no candle.
Whole numbers add up to the same in any order, and no float is added at all.

A candle sees the market as of its own close, that moment included. The market has the same windows as its symbols
(`window.py`): so its columns, too, begin at an anchor and depend on candle data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from signal_engine.window import BLOCK_CANDLES, PRICES, Floats, Ints, Series
from tocsin_trading.timeframes import TIMEFRAME_MS

REFERENCE = "BTC"
"""What everything else is compared with: the base of the reference's symbol."""

COUNTS = ("advancers", "decliners")

VALUES = (*PRICES, *COUNTS)
"""Columns of a market's candles: the reference's prices, and how many symbols rose and fell."""

Compute = Callable[[pl.DataFrame], pl.DataFrame]
"""Makes columns, named like `breadth_10@market`, of a frame of windows of markets."""


class Market(NamedTuple):
    """`quote` is what follows the base in a symbol: `/USDT`, or `/USDT:USDT`."""

    exchange: str
    quote: str
    timeframe: str

    @classmethod
    def of(cls, exchange: str, symbol: str, timeframe: str) -> Market:
        """The market that a symbol is in."""
        _, slash, quote = symbol.partition("/")
        return cls(exchange, slash + quote, timeframe)

    @property
    def reference(self) -> str:
        """The symbol everything else is compared with."""
        return f"{REFERENCE}{self.quote}"

    @property
    def length_ms(self) -> int:
        return TIMEFRAME_MS[self.timeframe]


class Together(NamedTuple):
    """Candles of a market, oldest first: open times in ms, and values of shape (7, rows) in the order of VALUES, NaN
    for prices that are not there. What opened before `since_ms` is not known any more."""

    opens: Ints
    values: Floats
    since_ms: int = -(2**62)

    def until(self, open_ms: int) -> Together:
        """Those that opened at a time or before."""
        end = int(self.opens.searchsorted(open_ms, side="right"))
        return Together(self.opens[:end], self.values[:, :end], self.since_ms)


Markets = Mapping[Market, Together]


def markets_of(candles: pl.DataFrame) -> Markets:
    """Every market there is in candles, each of them once; columns as for `history.signals_of`."""
    quote = pl.col("symbol").str.extract("(/.*)$").fill_null("")
    of_reference = pl.col("symbol").str.extract("^([^/]*)") == REFERENCE
    counted = (
        candles.unique(["exchange", "symbol", "timeframe", "open_ms"], keep="first", maintain_order=True)
        .with_columns(quote=quote)
        .group_by("exchange", "quote", "timeframe", "open_ms")
        .agg(
            *(pl.col(name).cast(pl.Float64).filter(of_reference).first() for name in PRICES),
            (pl.col("close") > pl.col("open")).sum().cast(pl.Float64).alias("advancers"),
            (pl.col("close") < pl.col("open")).sum().cast(pl.Float64).alias("decliners"),
        )
        .sort("open_ms")
    )
    parts = counted.partition_by("exchange", "quote", "timeframe", as_dict=True)
    return {Market(*names): _together(rows) for names, rows in parts.items()}


def closed_by(time_ms: int, markets: Markets) -> Markets:
    """The candles of every market that had closed by a time."""
    return {market: candles.until(time_ms - market.length_ms) for market, candles in markets.items()}


def _together(rows: pl.DataFrame) -> Together:
    return Together(rows["open_ms"].to_numpy(), rows.select(pl.col(VALUES).fill_null(np.nan)).to_numpy().T)


def beside(
    frame: pl.DataFrame, series: Sequence[Series], markets: Markets, warm_up_candles: int, compute: Compute
) -> pl.DataFrame:
    """The frame (see `frames.py`) with the columns that `compute` makes of the markets' windows; null where the
    market has no candle, or is not known as far back as the window reaches."""
    runs = _Runs.of(frame, series, warm_up_candles)
    together, rows = runs.windows(markets)
    at = rows[runs.places(frame["open_ms"].to_numpy())]
    columns = [
        pl.Series(column.name, np.append(column.fill_null(np.nan).to_numpy(), np.nan)[at], nan_to_null=True)
        for column in compute(together).cast(pl.Float64)
    ]
    return frame.with_columns(columns)


class _Runs(NamedTuple):
    """The windows of a frame, by the market and the block each is of: `part` says which of the distinct ones.

    `sizes` are the windows' rows; `anchors` and `lengths` say in ms where a part begins and how long its candles are.
    """

    sizes: Ints
    part: Ints
    markets: Sequence[Market]
    anchors: Ints
    lengths: Ints
    span: int

    @classmethod
    def of(cls, frame: pl.DataFrame, series: Sequence[Series], warm_up_candles: int) -> _Runs:
        starts = np.flatnonzero(frame["preceding"].to_numpy() == 0)
        new = np.flatnonzero(frame["new"].to_numpy())
        opens = frame["open_ms"].to_numpy()[new[np.searchsorted(new, starts)]]
        here, which = np.unique(frame["series"].to_numpy()[starts], return_inverse=True)
        known = [Market.of(*series[number]) for number in here.tolist()]
        numbers = {market: number for number, market in enumerate(dict.fromkeys(known))}
        distinct, number = list(numbers), np.array([numbers[market] for market in known])[which]
        block_ms = BLOCK_CANDLES * np.array([market.length_ms for market in distinct])[number]
        parts, part = np.unique(np.stack((number, opens // block_ms * block_ms)), axis=1, return_inverse=True)
        markets = [distinct[one] for one in parts[0]]
        lengths = np.array([market.length_ms for market in markets])
        sizes = np.diff(np.append(starts, len(frame)))
        span = warm_up_candles + BLOCK_CANDLES
        return cls(sizes, part.ravel(), markets, parts[1] - warm_up_candles * lengths, lengths, span)

    def windows(self, markets: Markets) -> tuple[pl.DataFrame, Ints]:
        """Every part's candles as a frame of windows, and by place (see `places`) the row of the candle there, or the
        number of rows.

        Columns: window, open_ms, VALUES (f64, null where there is none) and preceding. There is a row at least.
        """
        opens, values = [], []
        for market, anchor_ms, length_ms in zip(self.markets, self.anchors, self.lengths, strict=True):
            found = _within(markets.get(market), anchor_ms, anchor_ms + self.span * length_ms)
            opens.append(found.opens)
            values.append(found.values)
        every, sizes = np.concatenate(opens), np.array([len(one) for one in opens])
        part = np.repeat(np.arange(len(sizes)), sizes)
        rows = np.full(len(sizes) * self.span, len(every))
        rows[part * self.span + (every - self.anchors[part]) // self.lengths[part]] = np.arange(len(every))
        preceding = np.arange(len(every)) - (np.cumsum(sizes) - sizes)[part]
        return _framed(part, every, np.concatenate(values, axis=1), preceding), rows

    def places(self, opens: Ints) -> Ints:
        """By row of the frame: how many candles would lie before its candle, if every part had all of them."""
        part = np.repeat(self.part, self.sizes)
        return part * self.span + (opens - self.anchors[part]) // self.lengths[part]


NOTHING = Together(np.empty(0, np.int64), np.empty((len(VALUES), 0)))


def _within(candles: Together | None, first_ms: int, end_ms: int) -> Together:
    if candles is None or first_ms < candles.since_ms:
        return NOTHING
    lo, hi = candles.opens.searchsorted((first_ms, end_ms))
    return Together(candles.opens[lo:hi], candles.values[:, lo:hi])


def _framed(part: Ints, opens: Ints, values: Floats, preceding: Ints) -> pl.DataFrame:
    """A frame of windows; of one that nobody is told of where there is no candle, because columns want to be computed
    of something."""
    if not len(opens):
        part = opens = preceding = np.zeros(1, np.int64)
        values = np.full((len(VALUES), 1), np.nan)
    columns = {name: pl.Series(column, nan_to_null=True) for name, column in zip(VALUES, values, strict=True)}
    window, before = part.astype(np.uint32), preceding.astype(np.uint32)
    frame = pl.DataFrame({"window": window, "open_ms": opens, **columns, "preceding": before})
    return frame.with_columns(pl.col("window").set_sorted())
