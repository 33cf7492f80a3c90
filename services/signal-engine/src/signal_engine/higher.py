"""Columns of higher timeframes beside the candles of lower ones.

A candle sees the higher candle that closed last when it closed itself, at the same moment included, and never one
that is still open: of a candle of 15m that opens at 10:45 that is the hour from 10:00. Where that hour is missing the
columns are null; an older one would be stale. Their values come from the higher candle's own window, so they too
depend on candle data alone.

Live, both close in the same boundary, and the order in which they arrive within it does not matter: a round reads all
candles up to a mark first, and one whose higher candle is not among them waits until it comes, or until a mark says
that everything before its end has been published (`Windows.hold`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl
from polars import selectors

from signal_engine.columns import Frame, Whole
from signal_engine.frames import blank
from signal_engine.window import Series
from tocsin_trading.timeframes import TIMEFRAME_MS

CandlesOf = Callable[[str, pl.DataFrame], tuple[Iterable[Frame], Sequence[Series]]]
"""Gives the windows of the wanted candles (exchange, symbol, open_ms) of a timeframe, as `frames.py` describes
them, the wanted ones being new, and the series they count."""

Compute = Callable[[Frame], pl.DataFrame]
"""Gives the new rows of a frame of windows with columns, named like `ema_50@1h`."""

CANDLE = ("exchange", "symbol", "open_ms")

SEEN = ("series", "seen_ms")
"""A series, and when the higher candle opened that one of its candles sees."""


class Higher:
    """Joins the columns of one run. What the last rows asked for is not computed again for the next ones."""

    def __init__(self, candles_of: CandlesOf) -> None:
        self._candles_of = candles_of
        self._known: dict[str, pl.DataFrame] = {}

    def forget(self, timeframe: str) -> None:
        """A late candle joined a window of this timeframe: values computed before no longer hold."""
        self._known.pop(timeframe, None)

    def join(self, rows: pl.DataFrame, lower: Mapping[int, Series], timeframe: str, compute: Compute) -> pl.DataFrame:
        """`rows` with the columns that `compute` gives of a timeframe: for candles of these series, given by their
        numbers, which must mean the same as long as this lives; null for the others."""
        length_ms, end_ms = TIMEFRAME_MS[timeframe], pl.col("open_ms") + pl.col("length_ms")
        lengths = _lengths(lower)
        placed = rows.select("series", "open_ms").join(lengths, on="series", how="left", maintain_order="left")
        seen = placed.select("series", seen_ms=end_ms // length_ms * length_ms - length_ms)
        values = self._values(timeframe, seen.drop_nulls().unique(maintain_order=True), lower, compute)
        joined = rows.hstack([seen["seen_ms"]]).join(values, on=SEEN, how="left", maintain_order="left")
        return joined.drop("seen_ms")

    def _values(
        self, timeframe: str, wanted: pl.DataFrame, lower: Mapping[int, Series], compute: Compute
    ) -> pl.DataFrame:
        """Rows of the wanted candles that there are, and maybe of others wanted before."""
        known = self._known.get(timeframe)
        if known is None:
            nothing = compute(Whole(blank())).select("series", selectors.contains("@"), seen_ms="open_ms")
            known = nothing.clear()
        missing = wanted.join(known, on=SEEN, how="anti", maintain_order="left")
        if missing.is_empty():
            return known
        parts = [known.join(wanted, on=SEEN, how="semi", maintain_order="left")]
        named = missing.join(_described(lower), on="series", how="left", maintain_order="left")
        named = named.select("series", "exchange", "symbol", "seen_ms", open_ms="seen_ms")
        frames, series = self._candles_of(timeframe, named.select(CANDLE).unique(maintain_order=True))
        if computed := [compute(frame) for frame in frames]:
            found = _named(pl.concat(computed, how="diagonal"), series)
            parts.append(named.join(found, on=CANDLE, how="inner", maintain_order="left").drop(CANDLE))
        self._known[timeframe] = pl.concat(parts, how="diagonal")
        return self._known[timeframe]


def _named(computed: pl.DataFrame, series: Sequence[Series]) -> pl.DataFrame:
    """Rows by the names of their markets, without what is only of the window."""
    here = {number: series[number] for number in computed["series"].unique().to_list()}
    rows = computed.join(_described(here), on="series", how="left", maintain_order="left")
    return rows.select(*CANDLE, selectors.contains("@"))


def _described(series: Mapping[int, Series]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "series": pl.Series(list(series), dtype=pl.UInt32),
            "exchange": pl.Series([one.exchange for one in series.values()], dtype=pl.String),
            "symbol": pl.Series([one.symbol for one in series.values()], dtype=pl.String),
        }
    )


def _lengths(series: Mapping[int, Series]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "series": pl.Series(list(series), dtype=pl.UInt32),
            "length_ms": pl.Series([one.length_ms for one in series.values()], dtype=pl.Int64),
        }
    )
