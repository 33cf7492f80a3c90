"""What others rely on: the order of timeframes, and that longer ones can be made of shorter ones."""

from __future__ import annotations

import itertools

from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES


def test_every_timeframe_is_made_of_whole_ones_of_the_next_shorter() -> None:
    lengths = list(TIMEFRAME_MS.values())
    assert all(longer > shorter and longer % shorter == 0 for shorter, longer in itertools.pairwise(lengths))


def test_every_feed_has_all_timeframes_but_seconds() -> None:
    assert TIMEFRAMES == ("1m", "5m", "15m", "1h", "4h", "1d")
    assert set(TIMEFRAME_MS) - set(TIMEFRAMES) == {"1s"}
