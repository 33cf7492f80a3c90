"""The picture of a signal: any signal and candles give one, and its pixels stand where the prices say."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from alerting.picture.chart import SLOTS_MAX, Candles, Chart, Level, Market, PriceScale, levels, price_scale, spread
from alerting.picture.draw import AXIS, FOOT, HEAD, HEIGHT, LABEL, LEFT, VOLUME_SHARE, WIDTH, draw
from alerting.picture.plot import AHEAD, Area
from alerting.picture.texts import level_labels, tick_labels
from alerting.picture.themes import THEMES, Colour, ThemeName
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

HOUR_MS = 3_600_000
OPENED_MS = 1_723_161_600_000

LONG = SignalRaised(
    strategy="ema_cross",
    strategy_version="1",
    params_hash="p",
    exchange="binance",
    symbol="BTC/USDT",
    timeframe="1h",
    candle_open_ms=OPENED_MS,
    confirmed_ms=OPENED_MS + HOUR_MS,
    side="long",
    confidence=72,
    entry=64_000.0,
    stop=63_000.0,
    targets=[65_500.0, 67_000.0],
    expires_ms=OPENED_MS + 10 * HOUR_MS,
    reasons=["rose"],
)
SHORT = msgspec.structs.replace(LONG, side="short", stop=65_000.0, targets=[62_500.0, 61_000.0])


def candles(count: int, *, end_ms: int = OPENED_MS, price: float = 64_000.0) -> Candles:
    """Candles that rise and fall in turn around a price, the last one at `end_ms`."""
    turn = np.where(np.arange(count) % 2, 1.0, -1.0) * price * 0.002
    start, end = price - turn, price + turn
    open_ms = end_ms - HOUR_MS * np.arange(count - 1, -1, -1)
    low, high = np.minimum(start, end) * 0.999, np.maximum(start, end) * 1.001
    return Candles(open_ms, start, high, low, end, np.arange(count, dtype=float))


def seen(chart: Chart, theme: ThemeName = "dark") -> Image.Image:
    image = Image.open(io.BytesIO(draw(chart, theme)))
    assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    return image.convert("RGB")


def area_and_scale(chart: Chart) -> tuple[Area, PriceScale]:
    area = Area.of(chart, left=LEFT, top=HEAD, right=WIDTH - AXIS, bottom=HEIGHT - FOOT, volume_share=VOLUME_SHARE)
    return area, price_scale(chart, top=area.top, bottom=area.floor)


def colour_of(mark: Level, theme: ThemeName) -> Colour:
    return {"entry": THEMES[theme].entry, "stop": THEMES[theme].stop, "target": THEMES[theme].target}[mark.role]


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("signal", [LONG, SHORT], ids=["long", "short"])
def test_every_level_has_its_colour_at_the_row_of_its_price_and_at_its_label(
    signal: SignalRaised, theme: ThemeName
) -> None:
    chart = Chart(signal, candles(80))
    image, (area, scale) = seen(chart, theme), area_and_scale(chart)
    marks = levels(signal, scale, height=LABEL)
    assert [mark.name for mark in marks if mark.role == "target"] == (
        ["TP 2", "TP 1"] if signal is LONG else ["TP 1", "TP 2"]
    )
    for mark in marks:
        assert mark.row == scale.row(mark.price)
        assert image.getpixel((area.right - 40, mark.row)) == colour_of(mark, theme)
        assert image.getpixel((area.right + 30, mark.label_row)) == colour_of(mark, theme)


def test_a_candle_has_the_colour_of_its_direction_between_open_and_close() -> None:
    chart = Chart(LONG, candles(80))
    image, (area, scale) = seen(chart), area_and_scale(chart)
    for column, start, end in list(zip(area.columns(chart), chart.candles.open, chart.candles.close, strict=True))[-6:]:
        up, row = end >= start, scale.row((start + end) / 2)
        assert image.getpixel((int(column) + 3, row + 8)) == (THEMES["dark"].rises if up else THEMES["dark"].falls)


def test_between_entry_and_stop_it_is_reddish_and_towards_the_targets_greenish() -> None:
    for signal in (LONG, SHORT):
        chart = Chart(signal, candles(80))
        image, (area, scale) = seen(chart), area_and_scale(chart)
        for price, colour in ((signal.stop, THEMES["dark"].stop), (signal.targets[0], THEMES["dark"].target)):
            row = scale.row((signal.entry + price) / 2) + 5
            assert image.getpixel((area.right - 40, row)) == THEMES["dark"].faint(colour, 0.14)


def test_candles_after_the_signal_and_long_before_it_are_not_shown() -> None:
    shown = Chart(LONG, candles(300, end_ms=OPENED_MS + 50 * HOUR_MS)).latest().candles.open_ms
    assert shown[-1] == OPENED_MS
    assert len(shown) == SLOTS_MAX


def test_a_gap_leaves_its_slots_empty() -> None:
    whole = candles(50)
    kept = np.ones(50, bool)
    kept[20:30] = False
    chart = Chart(LONG, whole.rows(kept))
    area, _ = area_and_scale(chart)
    steps = np.diff(area.columns(chart))
    assert np.abs(steps[19] - 11 * area.slot_width) <= 1
    image = seen(chart)
    middle = (int(area.columns(chart)[19]) + int(area.columns(chart)[20])) // 2
    assert image.getpixel((middle + 3, area.top + 5)) == THEMES["dark"].faint(THEMES["dark"].pale, 0.06)


def test_one_candle_is_drawn_where_the_signal_stands() -> None:
    chart = Chart(LONG, candles(1))
    area, _ = area_and_scale(chart)
    assert 0 < area.signal_column - int(area.columns(chart)[0]) <= area.slot_width
    seen(chart)


def test_a_target_too_far_away_is_named_at_the_edge_and_leaves_the_candles_visible() -> None:
    far = msgspec.structs.replace(LONG, targets=[65_500.0, 640_000.0])
    chart = Chart(far, candles(80))
    _, scale = area_and_scale(chart)
    highest, *others = levels(far, scale, height=LABEL)
    assert (highest.name, highest.beyond) == ("TP 2", 1)
    assert not any(mark.beyond for mark in others)
    assert scale.row(chart.candles.low.min()) - scale.row(chart.candles.high.max()) > 60
    seen(chart)


def test_lines_are_drawn_in_their_colours() -> None:
    chart = Chart(LONG, candles(80), {"EMA 20": np.full(80, 64_800.0), "EMA 50": np.full(80, np.nan)})
    image, (area, scale) = seen(chart), area_and_scale(chart)
    assert image.getpixel((int(area.columns(chart)[40]), scale.row(64_800.0))) == THEMES["dark"].lines[0]


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ([67_167.441, 66_493.43, 69_189.474], ["67,167.4", "66,493.4", "69,189.5"]),
        ([50.0, 49.5, 50.5], ["50.0", "49.5", "50.5"]),
        ([0.00001234, 0.0000119, 0.000013], ["0.00001234", "0.00001190", "0.00001300"]),
        ([3.0, 2.0], ["3", "2"]),
        ([1.5e15, 1.4e15], ["1.5e+15", "1.4e+15"]),
        ([1.5e-12], ["1.5e-12"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_prices_beside_each_other_have_equally_many_decimals(prices: list[float], said: list[str]) -> None:
    assert level_labels(prices) == said


def test_ticks_are_round() -> None:
    scale = PriceScale(63_111.0, 65_222.0, 100, 900)
    assert tick_labels(scale.ticks(5)) == ["63,500", "64,000", "64,500", "65,000"]
    small = PriceScale(0.0000121, 0.0000149, 100, 900)
    assert tick_labels(small.ticks(5)) == ["0.000013", "0.000014"]


@given(
    rows=st.lists(st.integers(0, 1_000), max_size=10).map(sorted),
    height=st.integers(1, 80),
)
def test_labels_never_overlap_keep_their_order_and_stay_inside(rows: list[int], height: int) -> None:
    placed = spread(rows, height=height, top=20, bottom=900)
    assert len(placed) == len(rows)
    assert all(below - above >= height for above, below in pairwise(placed))
    assert all(20 <= row <= 901 for row in placed)
    apart = all(below - above >= height for above, below in pairwise(rows))
    if apart and all(20 <= row <= 900 for row in rows):
        assert placed == rows


@example(low=0.0, high=1.2e-38, prices=[0.0, 2.2e270])
@given(
    low=st.floats(0, 1e308, allow_subnormal=True),
    high=st.floats(0, 1e308),
    prices=st.lists(st.floats(0, 1e308), min_size=2, max_size=5).map(sorted),
)
def test_a_higher_price_is_never_drawn_lower(low: float, high: float, prices: list[float]) -> None:
    rows = PriceScale(min(low, high), max(low, high), 100, 900).rows(np.array(prices))
    assert (np.diff(rows) <= 0).all()
    assert ((rows >= 99) & (rows <= 901)).all()


ANY_PRICE = st.one_of(
    st.floats(0, 1.7e308), st.floats(1e-12, 1e6), st.sampled_from([0.0, 5e-324, 0.00001234, 64_000.0])
)


@st.composite
def any_chart(draw_from: st.DrawFn) -> Chart:
    """Some candles within and around the window, in any prices; any signal about them."""
    timeframe = draw_from(st.sampled_from(sorted(TIMEFRAME_MS)))
    length_ms = TIMEFRAME_MS[timeframe]
    opened_ms = draw_from(st.integers(0, 4 * 10**9)) * 1_000 // length_ms * length_ms
    places = sorted(draw_from(st.sets(st.integers(-10, 150), max_size=30)))
    part = np.array([opened_ms - place * length_ms for place in reversed(places)], np.int64)
    near = draw_from(ANY_PRICE)
    prices = st.one_of(st.floats(0.5, 1.5).map(lambda share: share * near), ANY_PRICE).filter(np.isfinite)
    column = st.lists(prices, min_size=len(part), max_size=len(part)).map(lambda values: np.array(values, np.float64))
    ends = np.array([draw_from(column) for _ in range(4)]).reshape(4, len(part))
    rows = Candles(part, ends[0], ends.max(axis=0), ends.min(axis=0), ends[1], draw_from(column))
    signal = msgspec.structs.replace(
        LONG,
        timeframe=timeframe,
        candle_open_ms=opened_ms,
        confirmed_ms=opened_ms + length_ms,
        side=draw_from(st.sampled_from(["long", "short"])),
        entry=draw_from(prices),
        stop=draw_from(prices),
        targets=draw_from(st.lists(prices, max_size=10)),
        confidence=draw_from(st.integers(0, 100)),
        symbol=draw_from(st.text(max_size=80)),
        strategy=draw_from(st.text(max_size=80)),
        exchange=draw_from(st.text(max_size=80)),
    )
    return Chart(signal, rows, {"line": draw_from(column)} if draw_from(st.booleans()) else {})


@settings(max_examples=40)
@given(chart=any_chart(), theme=st.sampled_from(["dark", "light"]))
def test_any_signal_and_any_candles_give_a_picture(chart: Chart, theme: ThemeName) -> None:
    seen(chart, theme)


def test_few_and_many_candles_leave_the_same_room_ahead_of_the_signal() -> None:
    for count in (1, 40, 100):
        area, _ = area_and_scale(Chart(LONG, candles(count)))
        assert area.right - area.signal_column == pytest.approx(AHEAD * area.slot_width, abs=1)
        assert replace(area, left=0).floor < area.bottom


@pytest.mark.parametrize("count", [0, 1, 80])
def test_a_market_alone_is_shown_with_its_last_price_and_no_zones(count: int) -> None:
    rows = candles(count)
    last = float(rows.close[-1]) if count else 64_000.0
    market = Market(
        exchange="binance", symbol="BTC/USDT", timeframe="1h", candle_open_ms=OPENED_MS + HOUR_MS, last=last
    )
    chart = Chart(market, rows)
    area, scale = area_and_scale(chart)
    [mark] = levels(market, scale, height=LABEL)
    image = seen(chart)
    assert (mark.name, mark.price) == ("Last", last)
    assert image.getpixel((area.right - 5, scale.row(last))) == THEMES["dark"].entry
    assert image.getpixel((area.right - 5, scale.row(last) - 30)) == THEMES["dark"].background
