"""In which order the rows of some files happen, and where those of one instrument are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_ingest.columns import Ints
from market_ingest.validate import ACCEPTED, REASONS, Codes

Keys = NDArray[np.int32]
"""Which instrument, or which instrument and timeframe, a row belongs to."""

Places = NDArray[np.int32]
"""Where rows are among at most 2^31 others."""

Flags = NDArray[np.bool_]
Span = tuple[int, int]
"""The rows `first <= i < end`."""


@dataclass(frozen=True, slots=True)
class Order:
    """Where the rows of one kind are: `rows` sorted by key, within one in the order of their happening, and only the
    accepted ones; `slots[i]` is key * all rows + position in the order of happening of row `rows[i]`.

    `code` and `at_ms` are in the order of happening, and of all rows.
    """

    rows: Ints | Places
    slots: Ints
    code: Codes
    at_ms: Ints

    @classmethod
    def of(cls, happening: Ints, keys: Keys, code: Codes, at_ms: Ints) -> Order:
        """`happening` lists the rows in the order of their happening."""
        in_order = _sorted(keys, at_ms)
        rows, position = _grouped(happening, keys, in_order=in_order)
        if code.any():
            accepted = np.flatnonzero(code[rows] == ACCEPTED)
            rows, position, code, in_order = rows[accepted], position[accepted], code[happening], False
        slots = np.multiply(keys if in_order else keys[rows], len(keys), dtype=np.int64)
        slots += position
        return cls(rows, slots, code, at_ms[happening])

    def between(self, keys: int, part: slice) -> list[tuple[int, Span]]:
        """The rows at these positions, as one slice of `rows` for each of the keys 0 to `keys` that has any."""
        first_slots = np.arange(keys) * len(self.code)
        starts = np.searchsorted(self.slots, first_slots + part.start)
        ends = np.searchsorted(self.slots, first_slots + part.stop)
        found = np.flatnonzero(ends > starts)
        return [(key, (int(starts[key]), int(ends[key]))) for key in found.tolist()]

    def rejected(self, part: slice) -> dict[str, int]:
        """How many rows at these positions were not accepted, by reason."""
        counts = np.bincount(self.code[part], minlength=len(REASONS)).tolist()
        return {reason: rows for reason, rows in zip(REASONS[1:], counts[1:], strict=True) if rows}


def _grouped(happening: Ints, keys: Keys, *, in_order: bool) -> tuple[Ints | Places, Places]:
    """The rows sorted by key and, within one, in the order of their happening; and the position of each in that order.

    Most files are `in_order` already. Fresh memory costs more than the work here, so nothing is wider than it must be.
    """
    if in_order:
        places = np.arange(len(keys), dtype=np.int32)
        position = np.empty_like(places)
        position[happening] = places
        return places, position
    position = np.argsort(narrow(keys[happening]), kind="stable").astype(np.int32)
    return happening[position], position


def _sorted(keys: Keys, at_ms: Ints) -> bool:
    """Whether rows are sorted by key, and by time within one."""
    in_order = keys[1:] == keys[:-1]
    in_order &= at_ms[1:] >= at_ms[:-1]
    in_order |= keys[1:] > keys[:-1]
    return bool(in_order.all())


def narrow(keys: Keys) -> NDArray[np.integer]:
    """The same keys in 16 bits where they fit: numpy sorts these by counting, in a fraction of the time."""
    return keys.astype(np.uint16) if not len(keys) or keys.max() < 2**16 else keys
