"""Events, and the rows in which each is the latest. They are few: only what is shown is spread over all rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from signal_engine.indicators.bars import REACH_CANDLES, Bars, Bools, Floats, Ints


class Spans(NamedTuple):
    """Of each event its row, and the first row in which it does not count any more, out of `rows` rows. Ascending."""

    start: Ints
    end: Ints
    rows: int

    def spread(self, values: Floats | Ints) -> Floats:
        """The value of each event in all rows of its span, NaN in the others."""
        bounds = np.concatenate(([0], np.column_stack((self.start, self.end)).ravel(), [self.rows]))
        between = np.full(2 * len(self.start) + 1, np.nan)
        between[1::2] = values
        return np.repeat(between, np.diff(bounds))

    def age(self) -> Floats:
        """How many rows ago the event was, NaN where there is none."""
        return np.arange(self.rows) - self.spread(self.start)

    def first(self, condition: Bools) -> Ints:
        """The first row of each span in which something holds; its end where there is none."""
        places = np.append(np.flatnonzero(condition), self.rows)
        first: Ints = np.minimum(places[np.searchsorted(places, self.start)], self.end)
        return first


def spans(bars: Bars, events: Ints) -> Spans:
    """Each of these rows until the next one, to the end of its window, and for REACH_CANDLES at most."""
    rows = len(bars.preceding)
    if not len(events):
        return Spans(events, events, rows)
    begins = np.append(np.flatnonzero(bars.preceding == 0), rows)
    following = np.append(events[1:], rows)
    window_end = begins[np.searchsorted(begins, events, side="right")]
    return Spans(events, np.minimum(np.minimum(following, window_end), events + REACH_CANDLES + 1), rows)
