"""Candles of a live feed that breaks: what waits, what closes, and where there is no candle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.messages import live_trades

from market_ingest.candles import CandleBuilder, Closed, Gap
from market_ingest.columns import Instrument

BTC, ETH, KRAKEN = Instrument("binance", "BTC/USDT"), Instrument("binance", "ETH/USDT"), Instrument("kraken", "BTC/USD")
START_MS = 1_700_006_400_000
"""2023-11-15 00:00 UTC: the beginning of a candle of every timeframe."""

MINUTE_MS = 60_000

Trade = tuple[int, float]
"""Milliseconds since START_MS, price; the amount is always 1."""

Row = tuple[float, float, float, float, float, int]
"""Open, high, low, close, volume, trades."""


def builder() -> CandleBuilder:
    return CandleBuilder(gap_ms=15 * MINUTE_MS, grace_ms=2_000, flats_by_clock=True)


def add(made: CandleBuilder, trades: Sequence[Trade], out: Closed, instrument: Instrument = BTC) -> None:
    if trades:
        message = live_trades(*instrument, ((START_MS + ms, price, 1.0) for ms, price in trades))
        made.of(instrument).add_live(message, out)


def at(minute: float) -> int:
    """Clock time at which everything up to this minute may close."""
    return START_MS + int(minute * MINUTE_MS) + 2_000


def table(closed: Closed, timeframe: str = "1m", instrument: Instrument = BTC) -> dict[int, Row]:
    """What closed of one timeframe, by open time in minutes since START_MS."""
    found: dict[int, Row] = {}
    for rows in closed.candles:
        if (rows.instrument, rows.timeframe) == (instrument, timeframe):
            for number in range(len(rows.candles)):
                open_ms, *row = rows.candles.row(number)
                minute = (open_ms - START_MS) // MINUTE_MS
                assert minute not in found, f"minute {minute} closed twice"
                found[minute] = tuple(row)
    return found


def flat(price: float) -> Row:
    return (price, price, price, price, 0.0, 0)


def traded(*prices: float) -> Row:
    return (prices[0], max(prices), min(prices), prices[-1], float(len(prices)), len(prices))


def test_the_clock_closes_nothing_of_an_interrupted_instrument() -> None:
    made, out = builder(), Closed()
    for instrument in (BTC, ETH, KRAKEN):
        add(made, [(0, 10.0)], out, instrument)
    made.interrupt("binance", "BTC/USDT")
    made.advance(at(5), out)
    assert not table(out)
    assert len(table(out, instrument=ETH)) == len(table(out, instrument=KRAKEN)) == 5


def test_a_broken_exchange_interrupts_its_own_instruments_only() -> None:
    made, out = builder(), Closed()
    for instrument in (BTC, ETH, KRAKEN):
        add(made, [(0, 10.0)], out, instrument)
    made.interrupt("binance")
    made.advance(at(2), out)
    assert not table(out)
    assert not table(out, instrument=ETH)
    assert len(table(out, instrument=KRAKEN)) == 2


def test_a_whole_feed_gets_its_silent_minutes_with_the_next_look_at_the_clock() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.advance(at(7), out)
    made.resume(BTC, whole=True)
    made.advance(at(7.2), out)
    assert table(out) == {0: traded(10.0), **{minute: flat(10.0) for minute in range(1, 7)}}
    assert table(out, "5m") == {0: traded(10.0)}
    assert not out.gaps


def test_fetched_trades_are_not_late_however_far_the_clock_is() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.advance(at(6), out)
    add(made, [(30_000, 11.0), (3 * MINUTE_MS, 12.0)], out)
    made.resume(BTC, whole=True)
    made.advance(at(6), out)
    assert out.late == 0
    assert table(out) == {0: traded(10.0, 11.0), 1: flat(11.0), 2: flat(11.0), 3: traded(12.0), 4: flat(12.0)} | {
        5: flat(12.0)
    }


def test_across_a_gap_there_is_no_candle_and_longer_ones_are_made_of_both_sides() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.advance(at(3), out)
    made.resume(BTC, whole=False)
    add(made, [(3 * MINUTE_MS + 1, 11.0)], out)
    made.advance(at(6), out)
    assert table(out) == {0: traded(10.0), 3: traded(11.0), 4: flat(11.0), 5: flat(11.0)}
    assert table(out, "5m") == {0: traded(10.0, 11.0)}
    assert out.gaps == [Gap(BTC, START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS)]


def test_after_a_gap_silence_has_no_price_until_somebody_trades() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.resume(BTC, whole=False)
    made.advance(at(5), out)
    assert list(table(out)) == [0]
    add(made, [(8 * MINUTE_MS, 11.0)], out)
    assert out.gaps == [Gap(BTC, START_MS + MINUTE_MS, START_MS + 8 * MINUTE_MS)]


def test_a_gap_stays_a_gap_when_a_later_outage_is_filled() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.resume(BTC, whole=False)
    made.interrupt("binance")
    made.resume(BTC, whole=True)
    add(made, [(5 * MINUTE_MS, 11.0)], out)
    assert out.gaps == [Gap(BTC, START_MS + MINUTE_MS, START_MS + 5 * MINUTE_MS)]


def test_a_gap_inside_a_minute_leaves_one_candle_of_both_ends() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.resume(BTC, whole=False)
    add(made, [(50_000, 11.0), (2 * MINUTE_MS, 12.0)], out)
    assert table(out) == {0: traded(10.0, 11.0), 1: flat(11.0)}
    assert not out.gaps


def test_an_instrument_interrupted_before_its_first_trade_has_no_gap() -> None:
    made, out = builder(), Closed()
    made.interrupt("binance", "BTC/USDT")
    made.advance(at(3), out)
    add(made, [(0, 10.0)], out)
    made.advance(at(4), out)
    assert not out.candles
    made.resume(BTC, whole=False)
    made.advance(at(4), out)
    assert table(out) == {0: traded(10.0)}
    assert not out.gaps


def test_the_end_closes_what_an_interruption_held_back_and_invents_nothing() -> None:
    made, out = builder(), Closed()
    add(made, [(0, 10.0)], out)
    made.interrupt("binance")
    made.advance(at(3), out)
    made.finish(out)
    assert table(out) == {0: traded(10.0)}
    assert table(out, "1d") == {0: traded(10.0)}


@dataclass(frozen=True)
class Story:
    """Trades, the pieces (first, end) of them that came while interrupted, and before which ones trades were lost."""

    trades: list[Trade]
    outages: list[tuple[int, int]]
    lost_before: frozenset[int]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    steps = draw(st.lists(st.sampled_from([0, 1, 20_000, 60_000, 61_000, 200_000, 1_000_000]), min_size=2, max_size=25))
    prices = draw(st.lists(st.sampled_from([9.0, 10.0, 11.0]), min_size=len(steps), max_size=len(steps)))
    trades = list(zip(itertools.accumulate(steps), prices, strict=True))
    places = sorted(draw(st.sets(st.integers(1, len(trades)), max_size=6)))
    outages = list(zip(places[::2], places[1::2], strict=False))
    inside = [place for first, end in outages for place in range(first, end + 1)]
    lost = draw(st.frozensets(st.sampled_from(inside), max_size=4)) if inside else frozenset()
    return Story(trades, outages, lost)


def told(story: Story, data: st.DataObject) -> Closed:
    """Live through a story, in any batches, with the clock looked at anywhere and running on during an outage."""
    made, out = builder(), Closed()
    times = [ts_ms for ts_ms, _ in story.trades]
    waiting: list[Trade] = []
    outage_ends: int | None = None
    for number in range(len(times) + 1):
        begins = next((end for first, end in story.outages if first == number), None)
        ends = number == outage_ends
        if begins is not None or ends or number in story.lost_before or data.draw(st.booleans()):
            add(made, waiting, out)
            waiting = []
            if number in story.lost_before or ends:
                made.resume(BTC, whole=number not in story.lost_before)
            outage_ends = begins or (None if ends else outage_ends)
            if outage_ends is not None:
                made.interrupt("binance")
            if data.draw(st.booleans()):
                newest = number if outage_ends is None else outage_ends
                made.advance(START_MS + (times[newest] if newest < len(times) else times[-1]), out)
        waiting += story.trades[number : number + 1]
    add(made, waiting, out)
    made.advance(at(times[-1] // MINUTE_MS + 3), out)
    return out


def expected(story: Story) -> tuple[dict[str, dict[int, Row]], list[Gap]]:
    """The same by grouping: candles by timeframe and minute, and the gaps."""
    candles: dict[str, dict[int, Row]] = {}
    for timeframe, minutes in (("1m", 1), ("5m", 5), ("1h", 60)):
        groups: dict[int, list[float]] = {}
        for ts_ms, price in story.trades:
            groups.setdefault(ts_ms // MINUTE_MS // minutes * minutes, []).append(price)
        candles[timeframe] = {minute: traded(*prices) for minute, prices in groups.items()}
    firsts = {ts_ms // MINUTE_MS: number for number, (ts_ms, _) in reversed([*enumerate(story.trades)])}
    last = story.trades[-1][0] // MINUTE_MS
    gaps = []
    for before, after in itertools.pairwise([*sorted(firsts), last + 3]):
        if firsts.get(after, len(story.trades)) in story.lost_before:
            if after <= last and after > before + 1:
                gaps.append(Gap(BTC, START_MS + (before + 1) * MINUTE_MS, START_MS + after * MINUTE_MS))
            continue
        price = candles["1m"][before][3]
        for silent in range(before + 1, after):
            for timeframe, minutes in (("1m", 1), ("5m", 5), ("1h", 60)):
                candles[timeframe].setdefault(silent // minutes * minutes, flat(price))
    end = last + 3
    for timeframe, minutes in (("5m", 5), ("1h", 60)):
        candles[timeframe] = {opened: row for opened, row in candles[timeframe].items() if opened + minutes <= end}
    return candles, gaps


@settings(max_examples=250, deadline=None)
@given(stories(), st.data())
def test_outages_and_gaps_in_any_batches_give_what_grouping_gives(story: Story, data: st.DataObject) -> None:
    out = told(story, data)
    candles, gaps = expected(story)
    assert {timeframe: table(out, timeframe) for timeframe in candles} == candles
    assert out.gaps == gaps
    assert out.late == 0
