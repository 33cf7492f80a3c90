"""TA-Lib over one window after the other, without what Polars does around each of them.

The functions of polars-talib and of the `ta-lib` wheel are the same C, and give the same to the last bit. But called
`over` a column, one takes 6 to 25 us a window for what the C does in 1 to 5: the indicators of live rounds go the short
way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from signal_engine.indicators.bars import Bools, Floats, Ints

BAR = ("high", "low", "close")

Function = Callable[..., Floats | tuple[Floats | npt.NDArray[np.int32], ...]]


def by_window(function: Function, columns: Sequence[str], *periods: float, output: int = 0) -> pl.Expr:
    """A function of TA-Lib of columns, over each window on its own; of several outputs one.

    Null where TA-Lib has NaN, and from a missing value on to the end of the window.
    """
    compute = inspect.unwrap(function)  # what is around it looks for pandas in every argument

    def evaluate(series: Sequence[pl.Series]) -> pl.Series:
        preceding, *arrays = (one.to_numpy() for one in series)
        found = np.full(len(preceding), np.nan)
        for rows in _windows(preceding, arrays):
            outputs = compute(*(array[rows] for array in arrays), *periods)
            found[rows] = outputs[output] if isinstance(outputs, tuple) else outputs
        return pl.Series(found, nan_to_null=True)

    return pl.map_batches(["preceding", *columns], evaluate, return_dtype=pl.Float64)


def _windows(preceding: Ints, arrays: Sequence[Floats]) -> Iterator[slice]:
    """The rows of every window, from the first complete one to the last before another is missing."""
    starts = np.flatnonzero(preceding == 0)
    windows = map(slice, starts.tolist(), [*starts[1:].tolist(), len(preceding)])
    missing = np.isnan(sum(arrays[1:], arrays[0]))
    return filter(None, (_complete(rows, missing) for rows in windows)) if missing.any() else windows


def _complete(rows: slice, missing: Bools) -> slice | None:
    here = np.flatnonzero(~missing[rows])
    if not len(here):
        return None
    gap = np.flatnonzero(np.diff(here) > 1)
    last = here[gap[0]] if len(gap) else here[-1]
    return slice(rows.start + int(here[0]), rows.start + int(last) + 1)
