"""What a window keeps, and what it does with candles that come twice or late."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from signal_engine.frames import PART_ROWS
from signal_engine.window import BLOCK_CANDLES, KEPT_CANDLES, Series
from signal_engine.windows import Windows
from tocsin_common.events import CandlesClosed

MINUTE_MS = 60_000
WARM_UP_CANDLES = 224
START = 100 * BLOCK_CANDLES
"""A candle number at the start of a block."""

SERIES = Series("kraken", "BTC/USD", "1m")


def minutes_of(numbers: Sequence[int]) -> CandlesClosed:
    """Candles by number since the epoch; the price is the number."""
    price = [float(number) for number in numbers]
    return CandlesClosed(
        **SERIES._asdict(),
        origin="trades",
        open_ms=[number * MINUTE_MS for number in numbers],
        open=price,
        high=price,
        low=price,
        close=price,
        volume=[1.0] * len(numbers),
    )


def numbers_in(windows: Windows) -> list[tuple[int, bool]]:
    (frame,) = windows.frames()
    return [(open_ms // MINUTE_MS, new) for open_ms, new in frame.whole().select("open_ms", "new").iter_rows()]


def test_a_candle_is_seen_with_exactly_the_warm_up_before_its_block() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of(range(START - 2 * WARM_UP_CANDLES, START)), pending=False)
    windows.add(minutes_of([START, START + 1]), pending=True)
    rows = numbers_in(windows)
    assert rows[0] == (START - WARM_UP_CANDLES, False)
    assert rows[-3:] == [(START - 1, False), (START, True), (START + 1, True)]
    assert len(rows) == WARM_UP_CANDLES + 2


def test_candles_of_several_blocks_are_each_seen_from_their_own_anchor() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of(range(START, START + 3 * BLOCK_CANDLES)), pending=True)
    (live,) = windows.frames()
    frame = live.whole()
    assert frame["window"].n_unique() == 3
    assert frame["new"].sum() == 3 * BLOCK_CANDLES
    starts = frame.group_by("window", maintain_order=True).first()["open_ms"] // MINUTE_MS
    anchors = [START + block * BLOCK_CANDLES - WARM_UP_CANDLES for block in range(3)]
    assert starts.to_list() == [max(START, anchor) for anchor in anchors]


def test_a_window_never_keeps_more_than_warm_up_one_block_and_a_few() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    for number in range(START, START + 4 * BLOCK_CANDLES, 50):
        windows.add(minutes_of(range(number, number + 50)), pending=True)
        windows.settle()
        windows.add(minutes_of([number + 49]), pending=True)
        _, window = windows._windows[SERIES]
        assert len(window.opens) <= WARM_UP_CANDLES + BLOCK_CANDLES + KEPT_CANDLES


def test_a_candle_that_comes_twice_is_ignored() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of(range(START, START + 10)), pending=True)
    windows.settle()
    added = windows.add(minutes_of(range(START + 5, START + 12)), pending=True)
    assert (added.duplicate, added.fresh, added.late, added.dropped) == (5, 2, 0, 0)
    assert [number for number, new in numbers_in(windows) if new] == [START + 10, START + 11]


def test_a_late_candle_joins_the_window_but_is_not_new() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of([START, START + 2]), pending=True)
    windows.settle()
    assert windows.add(minutes_of([START + 1]), pending=True).late == 1
    windows.add(minutes_of([START + 3]), pending=True)
    assert numbers_in(windows) == [(START, False), (START + 1, False), (START + 2, False), (START + 3, True)]


def test_a_candle_older_than_the_window_is_dropped() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of([START]), pending=True)
    windows.settle()
    old = windows.add(minutes_of([START - WARM_UP_CANDLES - 1, START - WARM_UP_CANDLES]), pending=True)
    assert (old.dropped, old.late) == (1, 1)


def test_a_gap_of_years_costs_nothing() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of([START]), pending=True)
    windows.add(minutes_of([START * 40]), pending=True)
    assert numbers_in(windows) == [(START, True), (START * 40, True)]


def test_many_windows_come_in_frames_of_whole_ones_numbered_through() -> None:
    windows, names = Windows(WARM_UP_CANDLES, {"1m"}), [f"S{number}/USDT" for number in range(800)]
    candles = minutes_of(range(START - WARM_UP_CANDLES, START + 1))
    for name in names:
        windows.add(msgspec.structs.replace(candles, symbol=name), pending=True)
    frames = [frame.whole() for frame in windows.frames()]
    rows = pl.concat(frames)
    assert [len(frame) >= PART_ROWS for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert all(frame["preceding"][0] == 0 for frame in frames)
    assert rows["window"].is_sorted()
    assert rows["series"].n_unique() == len(names)
    assert rows["window"].n_unique() == (rows["preceding"] == 0).sum()


def test_the_newest_candle_waits_for_the_higher_one_that_it_sees_until_that_is_there() -> None:
    windows, higher, newest = Windows(WARM_UP_CANDLES, {"1m"}), {"1m": ["5m"]}, START + 4 - START % 5
    windows.add(minutes_of([newest]), pending=True)

    def evaluated(through: int) -> list[int]:
        """What is new at a mark of the end of this minute."""
        windows.hold((through + 1) * MINUTE_MS, higher)
        found = [row for frame in windows.frames() for row in frame.whole().filter("new")["open_ms"] // MINUTE_MS]
        windows.settle()
        return found

    assert (evaluated(newest - 1), windows.pending) == ([], 1)
    for other in (newest - 9, newest + 1):
        windows.add(msgspec.structs.replace(minutes_of([other]), timeframe="5m"), pending=False)
        assert (evaluated(newest - 1), windows.pending) == ([], 1)
    late = msgspec.structs.replace(minutes_of([newest - 4]), timeframe="5m")
    windows.add(late, pending=False)
    assert (evaluated(newest - 1), windows.pending) == ([newest], 0)


def test_the_newest_candle_waits_no_longer_than_to_the_mark_of_its_end() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of([START]), pending=True)
    for through, waits in ((START - 1, True), (START, False)):
        windows.hold((through + 1) * MINUTE_MS, {"1m": ["5m"]})
        assert bool(list(windows.frames())) is not waits
        windows.settle()


def test_neighbours_at_the_end_of_a_window_are_found_as_any_candles_are() -> None:
    windows = Windows(WARM_UP_CANDLES, {"1m"})
    windows.add(minutes_of(range(START - WARM_UP_CANDLES, START + 4)), pending=False)
    for wanted in (
        [START + 3],
        [START + 2, START + 3],
        [START + 1, START + 3],
        [START - 1, START, START + 1, START + 2],
    ):
        opens = [number * MINUTE_MS for number in wanted]
        asked = pl.DataFrame({"exchange": SERIES.exchange, "symbol": SERIES.symbol, "open_ms": opens})
        frames, _ = windows.candles_of("1m", asked)
        found = [row for frame in frames for row in frame.whole().filter("new")["open_ms"] // MINUTE_MS]
        assert found == wanted
