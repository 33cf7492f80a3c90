"""The low and the high of a price over the last so many seconds. Pure.

The window moves in steps: prices are remembered as the extremes of equal pieces of time, and what counts is the piece
in hand and the STEPS pieces before it. So a window is up to a thirtieth longer than asked for, and little to remember.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

STEPS = 30

Column = NDArray[np.float64]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """The extremes of one piece of time; `number` counts pieces since the epoch."""

    number: int
    low: float
    high: float


class Window(msgspec.Struct, frozen=True, array_like=True):
    """The pieces that may still count, oldest first, and the last rise and fall (percent) that followed from them."""

    pieces: tuple[Piece, ...] = ()
    rise: float = 0.0
    fall: float = 0.0


class Extremes(msgspec.Struct, frozen=True):
    """By row: the extremes of the window (that row included), and how far the price is from them, in percent.

    `after` is the window as the last row leaves it. Percentages are rounded to 1e-9, so that 105 is 5 % above 100.
    """

    lows: Column
    highs: Column
    rises: Column
    falls: Column
    after: Window


def advance(window: Window, window_s: int, prices: Column, times_ms: NDArray[np.int64]) -> Extremes:
    """Take prices (float64) at ascending times into a window of so many seconds."""
    numbers = times_ms * STEPS // (window_s * 1000)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1, [len(numbers)]))
    lows, highs = np.empty(len(prices)), np.empty(len(prices))
    pieces = window.pieces
    for start, end in pairwise(starts):
        number, rows = int(numbers[start]), slice(int(start), int(end))
        pieces = tuple(piece for piece in pieces if piece.number >= number - STEPS)
        lows[rows] = np.minimum.accumulate(prices[rows]).clip(max=min((piece.low for piece in pieces), default=np.inf))
        highs[rows] = np.maximum.accumulate(prices[rows]).clip(min=max((piece.high for piece in pieces), default=0.0))
        pieces = _with(pieces, Piece(number, float(prices[rows].min()), float(prices[rows].max())))
    rises, falls = np.round((prices / lows - 1) * 100, 9), np.round((1 - prices / highs) * 100, 9)
    return Extremes(lows, highs, rises, falls, Window(pieces, float(rises[-1]), float(falls[-1])))


def _with(pieces: tuple[Piece, ...], new: Piece) -> tuple[Piece, ...]:
    if not pieces or pieces[-1].number != new.number:
        return (*pieces, new)
    last = pieces[-1]
    return (*pieces[:-1], Piece(new.number, min(last.low, new.low), max(last.high, new.high)))
