"""All of history in one query per timeframe: the oracle of the live engine, and what a backtest runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from signal_engine.columns import Frame, Whole
from signal_engine.evaluation import Evaluation, order
from signal_engine.frames import parts_of
from signal_engine.higher import Higher
from signal_engine.market import Markets, markets_of
from signal_engine.quarantine import Quarantine
from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy
from signal_engine.window import BLOCK_CANDLES, PRICES, Series
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

KEYS = ("exchange", "symbol", "timeframe")

BATCH_ROWS = 2_000_000
"""Rows of windows, warm-up included, judged in one query, unless one series alone has more: what bounds the memory,
to about 0.5 GB with thirty columns."""


def signals_of(
    strategies: Sequence[AnyStrategy],
    candles: pl.DataFrame,
    *,
    timeframes: Sequence[str] | None = None,
    sizing: Sizing | None = None,
    markets: Markets | None = None,
    broke: Callable[[Quarantine], None] = lambda one: None,
) -> list[SignalRaised]:
    """Signals of a frame of closed candles, equal to the live engine's over the same candles in time order.

    `candles` has the columns exchange, symbol, timeframe (text), open_ms (i64) and open, high, low, close, volume
    (f64); of rows with the same open time the first counts. `timeframes` are those judged (default: all there are);
    strategies look at the candles of the others from there. `markets` are those all candles are in (default: these
    candles). `broke` is told of each strategy whose query raised: its
    signals are not all there. Entries that make no sense are left out, however many.
    """
    evaluation = Evaluation(strategies, sizing)
    warm_up, across = evaluation.warm_up_candles, evaluation.across
    ordered = candles.unique([*KEYS, "open_ms"], keep="first", maintain_order=True).sort(*KEYS, "open_ms")
    found: list[SignalRaised] = []
    if across and markets is None:
        markets = markets_of(candles)
    for timeframe in sorted(timeframes or candles["timeframe"].unique()):
        for rows in _batches(ordered.filter(pl.col("timeframe") == timeframe), warm_up):
            frame = anchored(rows.with_columns(new=pl.lit(value=True)), TIMEFRAME_MS[timeframe], warm_up)
            series, recorded = _series(rows), _Recorded(ordered, warm_up)
            with evaluation.entries.forgiven():
                found += evaluation.signals(map(Whole, parts_of(frame)), series, Higher(recorded.of))
                if across:
                    placed = across.beside_market(parts_of(frame), series, markets or {})
                    found += across.signals(placed, series, Higher(recorded.of))
    for one in evaluation.quarantined:
        broke(one)
    return sorted(found, key=order)


class _Recorded:
    """Candles of higher timeframes, out of all there are."""

    def __init__(self, candles: pl.DataFrame, warm_up_candles: int) -> None:
        self._candles = candles
        self._warm_up_candles = warm_up_candles

    def of(self, timeframe: str, wanted: pl.DataFrame) -> tuple[Iterable[Frame], list[Series]]:
        """See `higher.CandlesOf`."""
        ours = self._candles.filter(pl.col("timeframe") == timeframe)
        ours = ours.join(wanted.select("exchange", "symbol").unique(), on=["exchange", "symbol"], how="semi")
        marked = ours.sort(*KEYS, "open_ms").join(
            wanted.with_columns(new=True), on=["exchange", "symbol", "open_ms"], how="left", maintain_order="left"
        )
        marked = marked.with_columns(pl.col("new").fill_null(value=False))
        frame = anchored(marked, TIMEFRAME_MS[timeframe], self._warm_up_candles)
        return map(Whole, parts_of(frame)), _series(marked)


def anchored(candles: pl.DataFrame, length_ms: int, warm_up_candles: int) -> pl.DataFrame:
    """One frame as `frames.py` describes it, of sorted candles of one timeframe, `new` saying which to evaluate.

    Each appears in its own block's window, and as warm-up in the windows of the following blocks that reach back to it.
    """
    block_ms, reach_ms = BLOCK_CANDLES * length_ms, warm_up_candles * length_ms
    block = pl.col("open_ms") // block_ms
    placed = (
        candles.select(
            pl.struct(KEYS).rle_id().alias("series"),
            "open_ms",
            *(pl.col(name).cast(pl.Float64) for name in PRICES),
            "new",
            pl.int_ranges(block, (pl.col("open_ms") + reach_ms) // block_ms + 1).alias("block"),
        )
        .explode("block")
        .with_columns(new=pl.col("new") & (block == pl.col("block")))
        .sort("series", "block", "open_ms")
        .with_columns(pl.struct("series", "block").rle_id().alias("window"))
    )
    needed = placed.filter(pl.col("new").any().over("window"))
    return needed.with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).over("window").alias("preceding"),
    )


def _series(candles: pl.DataFrame) -> list[Series]:
    return [Series(*names) for names in candles.select(KEYS).unique().sort(KEYS).iter_rows()]


def _batches(candles: pl.DataFrame, warm_up_candles: int) -> Iterator[pl.DataFrame]:
    """Whole series in their order, of about BATCH_ROWS rows of windows together."""
    most = BATCH_ROWS * BLOCK_CANDLES // (BLOCK_CANDLES + warm_up_candles)
    start = size = 0
    for rows in candles.group_by(KEYS, maintain_order=True).len()["len"]:
        if size and size + rows > most:
            yield candles.slice(start, size)
            start, size = start + size, 0
        size += rows
    if size:
        yield candles.slice(start, size)
