"""How far columns of a live window have come. See `carrying.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from signal_engine.indicators.bars import Floats
from signal_engine.indicators.recursive import Update


@dataclass(slots=True)
class Carried:
    """How far some columns of one window have come: to `through_ms`, the open time of its candle, over the rows of the
    block of `block_ms`. `recent` are the last values of the recursive ones, of shape (columns, KEPT_VALUES)."""

    block_ms: int
    through_ms: int
    updates: list[Update]
    recent: Floats
    steps: list[Steps] = field(default_factory=list)


@dataclass(slots=True)
class Steps:
    """A stepwise column: its `state`, and its last values, of shape (values, KEPT_VALUES)."""

    state: Floats
    recent: Floats
