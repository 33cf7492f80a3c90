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

from signal_engine.frames import blank
from signal_engine.window import Series
from tocsin_trading.timeframes import TIMEFRAME_MS

CandlesOf = Callable[[str, pl.DataFrame], tuple[Iterable[pl.DataFrame], Sequence[Series]]]
"""Gives the windows of the wanted candles (exchange, symbol, open_ms) of a timeframe, as `frames.py` describes
them, the wanted ones being new, and the series they count."""

Compute = Callable[[pl.DataFrame], pl.DataFrame]
"""Gives the new rows of a frame of windows with columns, named like `ema_50@1h`."""

CANDLE = ("exchange", "symbol", "open_ms")


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
        numbers; null for the others."""
        length_ms, end_ms = TIMEFRAME_MS[timeframe], pl.col("open_ms") + pl.col("length_ms")
        named = rows.join(_described(lower), on="series", how="left", maintain_order="left")
        named = named.with_columns(seen_ms=end_ms // length_ms * length_ms - length_ms)
        wanted = named.select("exchange", "symbol", open_ms="seen_ms").drop_nulls().unique(maintain_order=True)
        values = self._values(timeframe, wanted, compute).rename({"open_ms": "seen_ms"})
        joined = named.join(values, on=["exchange", "symbol", "seen_ms"], how="left", maintain_order="left")
        return joined.drop("exchange", "symbol", "length_ms", "seen_ms")

    def _values(self, timeframe: str, wanted: pl.DataFrame, compute: Compute) -> pl.DataFrame:
        """Rows of the wanted candles that there are, and maybe of others wanted before."""
        known = self._known.get(timeframe)
        if known is None:
            known = _named(compute(blank()), [Series("", "", timeframe)])
        missing = wanted.join(known, on=CANDLE, how="anti", maintain_order="left")
        if missing.is_empty():
            return known
        parts = [known.join(wanted, on=CANDLE, how="semi", maintain_order="left")]
        frames, series = self._candles_of(timeframe, missing)
        if computed := [compute(frame) for frame in frames]:
            parts.append(_named(pl.concat(computed, how="diagonal"), series))
        self._known[timeframe] = pl.concat(parts, how="diagonal")
        return self._known[timeframe]


def _named(computed: pl.DataFrame, series: Sequence[Series]) -> pl.DataFrame:
    """Rows by the names of their markets, without what is only of the window."""
    rows = computed.join(_described(dict(enumerate(series))), on="series", how="left", maintain_order="left")
    return rows.select(*CANDLE, selectors.contains("@"))


def _described(series: Mapping[int, Series]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "series": pl.Series(list(series), dtype=pl.UInt32),
            "exchange": pl.Series([one.exchange for one in series.values()], dtype=pl.String),
            "symbol": pl.Series([one.symbol for one in series.values()], dtype=pl.String),
            "length_ms": pl.Series([one.length_ms for one in series.values()], dtype=pl.Int64),
        }
    )
