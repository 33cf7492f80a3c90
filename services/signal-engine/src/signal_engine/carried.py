"""How far recursive columns of a live window have come. See `carrying.py`."""

from __future__ import annotations

from signal_engine.indicators.bars import Floats
from signal_engine.indicators.recursive import Update


class Carried:
    """How far some columns of one window have come: to `through_ms`, the open time of its candle, over the rows of the
    block of `block_ms`. `recent` are their last values, of shape (columns, KEPT_VALUES)."""

    __slots__ = ("block_ms", "recent", "through_ms", "updates")

    def __init__(self, block_ms: int, through_ms: int, updates: list[Update], recent: Floats) -> None:
        self.block_ms, self.through_ms = block_ms, through_ms
        self.updates, self.recent = updates, recent
