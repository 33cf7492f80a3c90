"""Recursive columns of a live window, carried on from candle to candle instead of computed of the window anew.

Nothing depends on it: what is carried equals what the window gives, to the last bit, and where nothing was carried
(after a restart, a late candle, in a new block) the window is there. So it is kept for the block of the candle that is
to come next, opened when nobody waits, and dropped as soon as anything else comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from signal_engine.carried import Carried
from signal_engine.indicators.recursive import KEPT_VALUES, Recursive
from signal_engine.window import PRICES, Floats, Ints, Window


def open_next(window: Window, columns: Mapping[str, Recursive], warm_up_candles: int) -> bool:
    """Have columns carried through the newest candle of a window, for the candle that comes next; says whether there
    was anything to do."""
    key, block_ms = tuple(columns), window.next_block_ms
    known = window.carried.get(key)
    if not key or (known and known.through_ms == window.newest_ms and known.block_ms == block_ms):
        return False
    window.carried.pop(key, None)
    lo = int(window.opens.searchsorted(block_ms - warm_up_candles * window.series.length_ms))
    arrays = dict(zip(PRICES, window.values[:, lo:], strict=True), open_ms=window.opens[lo:])
    if len(window.opens) - lo < KEPT_VALUES or not np.isfinite(window.values[:, lo:]).all():
        return True
    opened = [one.opened(*(arrays[name] for name in one.columns)) for one in columns.values()]
    there = [one for one in opened if one is not None]
    if len(there) == len(opened):
        recent = np.array([values[-KEPT_VALUES:] for _, values in there])
        window.carried[key] = Carried(block_ms, window.newest_ms, [update for update, _ in there], recent)
    return True


def carry_on(
    windows: Sequence[Window], columns: Mapping[str, Recursive], opens: Ints, candles: Mapping[str, Floats]
) -> Floats:
    """The columns of the candles that come next, which opened at `opens`, and KEPT_VALUES before: of shape (columns,
    windows, KEPT_VALUES and new candles). `opens` and each column of the new candles are of shape (windows, new)."""
    key, new = tuple(columns), opens.shape[1]
    carried = [window.carried.pop(key) for window in windows]  # whoever is interrupted leaves none behind
    found = np.empty((len(key), len(windows), KEPT_VALUES + new))
    found[:, :, :KEPT_VALUES] = np.stack([one.recent for one in carried], axis=1)
    for number, recursive in enumerate(columns.values()):
        updates = [one.updates[number] for one in carried]
        for at in range(new):
            read = zip(*(candles[name][:, at].tolist() for name in recursive.columns), strict=True)
            found[number, :, KEPT_VALUES + at] = [update(*bar) for update, bar in zip(updates, read, strict=True)]
    for window, one, values in zip(windows, carried, found[:, :, new:].swapaxes(0, 1), strict=True):
        one.recent = values.copy()
        window.carried[key] = one
    for one, through_ms in zip(carried, opens[:, -1:].ravel().tolist(), strict=new > 0):
        one.through_ms = through_ms
    return found
