"""The low and the high of a price over the last so many seconds. Pure.

The window moves in steps: prices are remembered as the extremes of equal pieces of time, and what counts is the piece
in hand and the STEPS pieces before it. So a window is up to a thirtieth longer than asked for, and little to remember.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tocsin_common.ids import derive

STEPS = 30

Column = NDArray[np.float64]
Side = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Move:
    """A price went `percent` away from its low (`up`) or high (`down`) of the last `window_s`: `extreme`.

    `reference` names the trade or candle by what it is.
    """

    exchange: str
    symbol: str
    percent: float
    window_s: int
    side: Side
    extreme: float
    price: float
    ts_ms: int
    reference: str

    @property
    def cause_id(self) -> str:
        asked = (self.window_s, self.percent, self.side)
        return derive("move", self.exchange, self.symbol, self.ts_ms, self.reference, *asked)


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """The extremes of one piece of time; `number` counts pieces since the epoch."""

    number: int
    low: float
    high: float


class Window(msgspec.Struct, frozen=True, array_like=True):
    """The pieces that may still count, oldest first, and what `Extremes` said of the last price."""

    pieces: tuple[Piece, ...] = ()
    rise: float = 1.0
    fall: float = 1.0


class Extremes(msgspec.Struct, frozen=True):
    """By row: the low and the high of the window (that row included), the price over the low, the high over the price.

    `after` is the window as the last row leaves it.
    """

    lows: Column
    highs: Column
    rises: Column
    falls: Column
    after: Window


def advance(window: Window, window_s: int, prices: Column, times_ms: NDArray[np.int64]) -> Extremes:
    """Take prices at ascending times into a window of so many seconds."""
    lows, highs = np.empty(len(prices)), np.empty(len(prices))
    pieces = window.pieces
    for number, rows in _pieces(window_s, times_ms):
        pieces = tuple(piece for piece in pieces if piece.number >= number - STEPS)
        fallen, risen = np.minimum.accumulate(prices[rows]), np.maximum.accumulate(prices[rows])
        piece = Piece(number, float(fallen[-1]), float(risen[-1]))
        if pieces:
            np.minimum(fallen, min([piece.low for piece in pieces]), out=lows[rows])
            np.maximum(risen, max([piece.high for piece in pieces]), out=highs[rows])
        else:
            lows[rows], highs[rows] = fallen, risen
        pieces = _with(pieces, piece)
    rises, falls = prices / lows, highs / prices
    return Extremes(lows, highs, rises, falls, Window(pieces, float(rises[-1]), float(falls[-1])))


def _pieces(window_s: int, times_ms: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """The pieces of time that rows fall into, and their rows."""
    length_ms = window_s * 1000
    start, end = 0, len(times_ms)
    while start < end:
        number = int(times_ms[start]) * STEPS // length_ms
        if int(times_ms[-1]) * STEPS // length_ms == number:
            yield number, slice(start, end)
            return
        following_ms = -(-(number + 1) * length_ms // STEPS)  # the first whole millisecond of the next piece
        stop = int(times_ms.searchsorted(following_ms))
        yield number, slice(start, stop)
        start = stop


def _with(pieces: tuple[Piece, ...], new: Piece) -> tuple[Piece, ...]:
    if not pieces or pieces[-1].number != new.number:
        return (*pieces, new)
    last = pieces[-1]
    return (*pieces[:-1], Piece(new.number, min(last.low, new.low), max(last.high, new.high)))
