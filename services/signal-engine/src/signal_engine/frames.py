"""Frames of windows: the rows of many windows, one after the other, in the columns that expressions run over.

Columns: series (a number, u32), window (one per series and block, u32), open_ms (i64), PRICES (f64), new (evaluate this
row, bool), preceding (rows before it in its window, u32). Rows of a window are contiguous, oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from signal_engine.window import PRICES, Anchored, Series, Window

PART_ROWS = 262_144
"""Rows of one frame, and one window more: a column takes 2 MB. All that is computed of it stays near the processor, and
is soon forgotten."""


Part = tuple[int, Window, Anchored]
"""A block of a window, with its warm-up, and the number of its series."""


def ready_parts(windows: Sequence[tuple[int, Window]], warm_up_candles: int) -> list[Part]:
    """What is ready of some windows by their numbers, reaching so many candles back."""
    return [(number, window, part) for number, window in windows for part in window.ready_parts(warm_up_candles)]


def framed(windows: Sequence[tuple[int, Window]], warm_up_candles: int) -> Iterator[pl.DataFrame]:
    """Frames of what is ready of some windows, as long as nothing is forgotten in them."""
    return (frame_of(parts, first) for parts, first in in_frames(ready_parts(windows, warm_up_candles)))


def in_frames(parts: Sequence[Part]) -> Iterator[tuple[Sequence[Part], int]]:
    """Parts for a frame each, and the number of the first of them."""
    first = rows = 0
    for end, (_, _, part) in enumerate(parts, 1):
        rows += part.hi - part.lo
        if rows >= PART_ROWS or end == len(parts):
            yield parts[first:end], first
            first, rows = end, 0


def frame_of(parts: Sequence[Part], first: int) -> pl.DataFrame:
    """One frame; `first` is the number of its first window."""
    sizes = [part.hi - part.lo for _, _, part in parts]
    values = np.concatenate([window.values[:, part.lo : part.hi] for _, window, part in parts], axis=1)
    starts = np.cumsum(sizes) - sizes
    preceding = (np.arange(values.shape[1]) - np.repeat(starts, sizes)).astype(np.uint32)
    columns = {
        "series": np.repeat(np.array([number for number, _, _ in parts], np.uint32), sizes),
        "window": np.repeat(np.arange(first, first + len(parts), dtype=np.uint32), sizes),
        "open_ms": np.concatenate([window.opens[part.lo : part.hi] for _, window, part in parts]),
        **dict(zip(PRICES, values, strict=True)),
        "new": np.concatenate([part.new for _, _, part in parts]),
        "preceding": preceding,
    }
    return pl.DataFrame(columns).with_columns(pl.col("window").set_sorted())


def blank() -> pl.DataFrame:
    """A frame of one row: what there is to know of columns where no candle is."""
    window = Window(Series("", "", "1m"), 0)
    window.add(np.zeros(1, np.int64), np.ones((len(PRICES), 1)), pending=False)
    return frame_of([(0, window, Anchored(0, 1, 0, at_end=1))], 0)


def parts_of(frame: pl.DataFrame, rows: int = PART_ROWS) -> Iterator[pl.DataFrame]:
    """A frame of windows in parts of whole ones, each of `rows` rows or one window more."""
    starts = np.flatnonzero(frame["preceding"].to_numpy() == 0)
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(frame), rows)))
    bounds = [*starts[cuts[cuts < len(starts)]].tolist(), len(frame)]
    for first, last in pairwise(bounds):
        yield frame[first:last]
