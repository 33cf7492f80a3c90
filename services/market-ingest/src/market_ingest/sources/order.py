"""In which order the rows of some files happen, and where those of one instrument are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

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
    """The rows of one table by key, and where each key stands at any position of the common order of happening.

    What happens at the same millisecond happens in the order of the table. `at_ms[i]` is when the row at position i
    happens, whatever its key. The rows of `keys[n]` lie between `starts[n]` and `starts[n + 1]` in the order of their
    happening: when (`when_ms`), and where in the table (`rows`; None: right here). Behind them are all rows that are
    not accepted, and `refused` says why.

    Fresh memory costs more than the work, so no row is numbered before it must be.
    """

    at_ms: Ints
    when_ms: Ints
    rows: Places | None
    keys: Sequence[int]
    starts: Sequence[int]
    refused: Codes
    _newest: dict[int, list[int]] = field(default_factory=dict, repr=False)
    """What `_reached` found last: where one stretch ends the next begins."""

    @classmethod
    def of(cls, keys: Keys, count: int, code: Codes, at_ms: Ints) -> Order:
        """Of any table; its keys are 0 to `count`."""
        if code.any():
            keys = np.where(code == ACCEPTED, keys, np.int32(count))
        happening = np.argsort(at_ms, kind="stable").astype(np.int32)
        rows = happening[np.argsort(narrow(keys[happening]), kind="stable")]
        present, starts = _present([0, *np.cumsum(np.bincount(keys, minlength=count + 1)).tolist()])
        return cls(at_ms[happening], at_ms[rows], rows, present, starts, code[rows[starts[-2] :]])

    @classmethod
    def as_it_is(cls, starts: Sequence[int], at_ms: Ints) -> Order:
        """Of a table that is sorted by key and by time within one, and accepted: most files are."""
        in_time = np.sort(at_ms, kind="stable")  # merges what is sorted already
        present, starts = _present([*starts, len(at_ms), len(at_ms)])
        return cls(in_time, at_ms, None, present, starts, np.empty(0, np.uint8))

    @property
    def accepted_rows(self) -> Places:
        """Where in the table the accepted rows are, in the order of keys."""
        return self._places(0, self.starts[-2]).astype(np.int32, copy=False)

    def between(self, part: slice) -> tuple[list[tuple[int, Span]], dict[str, int]]:
        """Of the rows at these positions: those of each key that has any, and how many were not accepted by reason."""
        *spans, refused = zip(self._reached(part.start), self._reached(part.stop), strict=True)
        found = [(key, span) for key, span in zip(self.keys, spans, strict=True) if span[1] > span[0]]
        first, end = (at - self.starts[-2] for at in refused)
        counts = np.bincount(self.refused[first:end], minlength=len(REASONS)).tolist()
        return found, {reason: rows for reason, rows in zip(REASONS[1:], counts[1:], strict=True) if rows}

    def _reached(self, position: int) -> list[int]:
        """Where each key's rows of before a position end."""
        found = self._newest.get(position)
        if found is None:
            found = self._look_up(position)
            self._newest.clear()
            self._newest[position] = found
        return found

    def _look_up(self, position: int) -> list[int]:
        if position >= len(self.at_ms):
            return list(self.starts[1:])
        at_ms = self.at_ms[position]
        moment = np.array([at_ms, at_ms + 1])
        spans = [self.when_ms[first:end].searchsorted(moment) + first for first, end in pairwise(self.starts)]
        missing = position - sum(int(span[0]) - first for span, first in zip(spans, self.starts, strict=False))
        if not missing:
            return [int(span[0]) for span in spans]
        tied = [self._places(*span.tolist()) for span in spans]
        last = np.partition(np.concatenate(tied), missing - 1)[missing - 1]
        return [
            int(span[0] + places.searchsorted(last, side="right")) for span, places in zip(spans, tied, strict=True)
        ]

    def _places(self, first: int, end: int) -> NDArray[np.integer]:
        return np.arange(first, end) if self.rows is None else self.rows[first:end]


def _present(starts: Sequence[int]) -> tuple[list[int], list[int]]:
    """The keys that have rows, and where the rows of these begin; then where the refused ones begin and end."""
    present = [key for key, (first, end) in enumerate(pairwise(starts[:-1])) if end > first]
    return present, [*(starts[key] for key in present), *starts[-2:]]


def key_starts(keys: Keys, runs: Ints, count: int) -> list[int] | None:
    """Where the rows of each key 0 to `count` begin, if the runs of rows come in the order of their keys."""
    if (keys[1:] < keys[:-1]).any():
        return None
    ends = np.concatenate(([0], np.cumsum(runs)))
    found: list[int] = ends[np.searchsorted(keys, np.arange(count))].tolist()
    return found


def only_rises(values: Ints, starts: Sequence[int], *, strictly: bool) -> bool:
    """Whether values fall (`strictly`: or stay) nowhere but at these places."""
    falls = values[1:] <= values[:-1] if strictly else values[1:] < values[:-1]
    places = np.flatnonzero(falls) + 1
    return len(places) <= len(starts) and bool(np.isin(places, starts).all())


def narrow(keys: Keys) -> NDArray[np.integer]:
    """The same keys in 16 bits where they fit: numpy sorts these by counting, in a fraction of the time."""
    return keys.astype(np.uint16) if not len(keys) or keys.max() < 2**16 else keys
