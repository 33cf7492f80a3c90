"""Columns of a live window, carried on from candle to candle instead of computed of the window anew.

Nothing depends on it: what is carried equals what the window gives, to the last bit, and where nothing was carried
(after a restart, a late candle, in a new block) the window is there. So it is kept for the block of the candle that is
to come next, opened when nobody waits, and dropped as soon as anything else comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from signal_engine.carried import Carried, Steps
from signal_engine.columns import Asked, Remembering
from signal_engine.indicators.recursive import KEPT_VALUES, Recursive, Stepwise
from signal_engine.window import PRICES, Floats, Ints, Window


def open_next(windows: Sequence[Window], asked: Asked, warm_up_candles: int) -> None:
    """Have columns carried through the newest candle of windows, for the candle that comes next."""
    fresh, key = list[tuple[Window, Carried]](), asked.carried
    for window in windows if key else ():
        known = window.carried.get(key)
        here = known if known and known.through_ms == window.newest_ms else None
        if here and here.block_ms == window.next_block_ms:
            continue
        window.carried.pop(key, None)
        opened = _opened(window, asked, warm_up_candles)
        if opened and here:
            opened.steps = here.steps  # these know no blocks
            window.carried[key] = opened
        elif opened:
            fresh.append((window, opened))
    for stepwise in asked.stepwise.values() if fresh else ():
        for (_, one), steps in zip(fresh, _stepped([window for window, _ in fresh], stepwise), strict=True):
            one.steps.append(steps)
    for window, one in fresh:
        window.carried[key] = one


def _opened(window: Window, asked: Asked, warm_up_candles: int) -> Carried | None:
    """Without its stepwise columns."""
    block_ms = window.next_block_ms
    lo = int(window.opens.searchsorted(block_ms - warm_up_candles * window.series.length_ms))
    opens, values = window.opens[lo:], window.values[:, lo:]
    if len(opens) < KEPT_VALUES + asked.remembered or not np.isfinite(values).all():
        return None
    arrays = dict(zip(PRICES, values, strict=True), open_ms=opens)
    opened = [one.opened(*(arrays[name] for name in one.columns)) for one in asked.recursive.values()]
    there = [one for one in opened if one is not None]
    if len(there) < len(opened):
        return None
    recent = np.array([last[-KEPT_VALUES:] for _, last in there]).reshape(-1, KEPT_VALUES)
    return Carried(block_ms, window.newest_ms, [update for update, _ in there], recent)


def _stepped(windows: Sequence[Window], column: Remembering) -> list[Steps]:
    """From the first candle that is remembered in any of the values kept."""
    by, rows = column.by, column.memory + KEPT_VALUES
    candles = np.stack([window.values[:, -rows:] for window in windows], axis=1)
    state = by.begun(len(windows))
    ends = range(by.candles, rows + 1)
    recent = np.stack([by.step(state, candles[:, :, end - by.candles : end]) for end in ends][-KEPT_VALUES:], axis=-1)
    return [Steps(state[:, at].copy(), recent[:, at].copy()) for at in range(len(windows))]


def carry_on(
    windows: Sequence[Window], asked: Asked, opens: Ints, candles: Floats
) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """The columns of the candles that come next, which opened at `opens`, and KEPT_VALUES before: of each recursive
    column of shape (windows, KEPT_VALUES and new candles), of each stepwise one of shape (values, windows, the same).
    `opens` is of shape (windows, new), and `candles`, which end with the new ones, of shape (PRICES, windows, any)."""
    key = asked.carried
    carried = [window.carried.pop(key) for window in windows]  # whoever is interrupted leaves none behind
    recursive = _recursions(carried, asked.recursive, opens, candles)
    stepwise = {
        name: _step_on([one.steps[number] for one in carried], column.by, opens.shape[1], candles)
        for number, (name, column) in enumerate(asked.stepwise.items())
    }
    for window, one in zip(windows, carried, strict=True):
        window.carried[key] = one
    for one, through_ms in zip(carried, opens[:, -1:].ravel().tolist(), strict=opens.shape[1] > 0):
        one.through_ms = through_ms
    return recursive, stepwise


def _recursions(
    carried: Sequence[Carried], columns: Mapping[str, Recursive], opens: Ints, candles: Floats
) -> Mapping[str, Floats]:
    new = opens.shape[1]
    arrays = dict(zip(PRICES, candles[:, :, candles.shape[2] - new :], strict=True), open_ms=opens)
    found = np.empty((len(columns), len(carried), KEPT_VALUES + new))
    found[:, :, :KEPT_VALUES] = np.stack([one.recent for one in carried], axis=1)
    for number, recursive in enumerate(columns.values()):
        updates = [one.updates[number] for one in carried]
        for at in range(new):
            read = zip(*(arrays[name][:, at].tolist() for name in recursive.columns), strict=True)
            found[number, :, KEPT_VALUES + at] = [update(*bar) for update, bar in zip(updates, read, strict=True)]
    for one, values in zip(carried, found[:, :, new:].swapaxes(0, 1), strict=True):
        one.recent = values.copy()
    return dict(zip(columns, found, strict=True))


def _step_on(steps: Sequence[Steps], by: Stepwise, new: int, candles: Floats) -> Floats:
    state, end = np.stack([one.state for one in steps], axis=-1), candles.shape[2]
    last = range(end - new + 1, end + 1)
    values = [by.step(state, candles[:, :, upto - by.candles : upto]) for upto in last]
    recent = np.stack([one.recent for one in steps], axis=1)
    found = np.concatenate((recent, np.stack(values, axis=-1)), axis=-1) if values else recent
    for at, one in enumerate(steps):
        one.state, one.recent = state[:, at].copy(), found[:, at, new:].copy()
    return found
