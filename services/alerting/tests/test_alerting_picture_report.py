"""The picture of a report: everything in its place, whatever the figures are."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry
from tests.reports import MONDAY_MS, WEEKLY, a_report, ranking_of

from alerting.metrics import Metrics
from alerting.picture.desk import Pictures
from alerting.picture.painter import Drawing, Painter
from alerting.picture.report import HEIGHT, WIDTH, Page, draw_report
from alerting.picture.scores import bar_ends
from alerting.picture.themes import THEMES
from alerting.reports.condense import condensed
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import Account, Named, Score, Summary, Unusual

DUE = WEEKLY.last(MONDAY_MS)
WEEK = condensed(a_report(DUE), DUE)

PLACES = {
    "title": (48, 30, 700, 150),
    "tiles": (48, 166, 1952, 350),
    "curve": (76, 458, 1802, 798),
    "strategies": (76, 960, 976, 1200),
    "table": (1040, 910, 1924, 1200),
    "foot": (48, 1540, 1952, 1590),
}
"""Left, top, right, bottom of what must be drawn."""


def pixels(png: bytes) -> Any:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
        return np.asarray(image.convert("RGB")).astype(int)


def coloured(picture: Any, colour: tuple[int, int, int]) -> int:
    """How many pixels have nearly this colour."""
    return int((np.abs(picture - colour).max(axis=2) < 12).sum())


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("language", ["en", "id"])
def test_there_is_something_in_every_place_and_its_edge_is_free(theme: Any, language: Any) -> None:
    png = draw_report(WEEK, theme, language)
    assert len(png) < 1_000_000
    picture = pixels(png)
    for name, (left, top, right, bottom) in PLACES.items():
        part = picture[top:bottom, left:right]
        assert part.std() > 5, name
    background = np.array(THEMES[theme].background)
    for edge in (picture[:20], picture[-20:], picture[:, :40], picture[:, -40:]):
        assert (edge == background).all()


def test_what_was_won_is_green_and_what_was_lost_red() -> None:
    theme, curve = THEMES["dark"], [(DUE.from_ms, 0.0), (DUE.to_ms, 20.0)]
    panel = theme.faint(theme.text, 0.045)
    won = pixels(draw_report(msgspec.structs.replace(WEEK, curve=curve)))[460:790, 76:1800]
    lost = pixels(draw_report(msgspec.structs.replace(WEEK, curve=[(at, -r) for at, r in curve])))[460:790, 76:1800]
    for picture, tall, other in ((won, theme.target, theme.stop), (lost, theme.stop, theme.target)):
        assert coloured(picture, theme.faint(tall, 0.2)) > 100_000
        assert coloured(picture, theme.faint(other, 0.2)) < 500  # where a line is blended with its ground
        assert coloured(picture, panel) > 100_000


def test_a_week_with_nothing_in_it_says_so() -> None:
    nothing = Score(signals=0, outcomes=0, wins=0, total_r=0.0)
    lists: dict[str, Any] = {
        name: [] for name in ("curve", "strategies", "best_symbols", "worst_symbols", "best_hours", "worst_hours")
    }
    empty = msgspec.structs.replace(WEEK, now=nothing, before=nothing, unusual=[], accounts=[], **lists)
    assert pixels(draw_report(empty))[500:600, 400:1500].std() > 5


def test_a_day_has_its_hours_below_the_curve() -> None:
    day = msgspec.structs.replace(WEEK, period="daily", from_ms=DUE.to_ms - 86_400_000, to_ms=DUE.to_ms)
    assert pixels(draw_report(day))[800:850, 76:1800].std() > 5


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
RATES = st.none() | NUMBERS
NAMES = st.text(min_size=1, max_size=70)
SCORES = st.builds(
    Score,
    signals=st.integers(0, 10**12),
    outcomes=st.integers(0, 10**12),
    wins=st.integers(0, 10**12),
    total_r=NUMBERS,
    win_rate=RATES,
    win_rate_low=RATES,
    win_rate_high=RATES,
    average_r=RATES,
    profit_factor=RATES,
)
NAMED = st.lists(st.builds(Named, name=NAMES, score=SCORES, enough=st.booleans()), max_size=3)
SUMMARIES = st.builds(
    Summary,
    period=st.sampled_from(["daily", "weekly"]),
    from_ms=st.just(DUE.from_ms),
    to_ms=st.just(DUE.to_ms),
    zone=st.just("Asia/Jakarta"),
    now=SCORES,
    before=SCORES,
    active=st.integers(0, 10**12),
    curve=st.lists(st.tuples(st.integers(-(2**60), 2**60), NUMBERS), max_size=20),
    strategies=NAMED,
    best_symbols=NAMED,
    worst_symbols=NAMED,
    best_hours=NAMED,
    worst_hours=NAMED,
    unusual=st.lists(
        st.builds(Unusual, kind=st.sampled_from(["win_rate", "signals"]), name=NAMES, before=NUMBERS, now=NUMBERS),
        max_size=4,
    ),
    accounts=st.lists(
        st.builds(Account, portfolio=NAMES, currency=NAMES, equity=st.just("1e29"), change=RATES, drawdown=NUMBERS),
        max_size=3,
    ),
    raised=st.integers(0, 10**12),
    suppressed=st.integers(0, 10**12),
    sent=st.integers(0, 10**12),
    undelivered=st.integers(0, 10**12),
)


@settings(max_examples=5)
@given(SUMMARIES)
def test_whatever_the_figures_are_it_is_drawn(summary: Summary) -> None:
    pixels(draw_report(summary))


async def test_the_painter_draws_it_once_for_all_who_speak_a_language() -> None:
    drawn: list[Drawing] = []

    class Counting(Painter):
        async def draw(self, drawing: Drawing) -> bytes | None:
            drawn.append(drawing)
            return await super().draw(drawing)

    many = ranking_of(*((f"strategy_{n}", n / 10) for n in range(4)))
    summary = condensed(replace(a_report(DUE), strategies=many), DUE)
    metrics = Metrics(CollectorRegistry())
    async with Counting("light") as painter, Pictures(MemoryBus(), painter, metrics, wait_s=20.0) as pictures:
        pngs = [await pictures.of_report(Page(summary, language)) for language in ("en", "id", "en")]
    assert [each is not None for each in pngs] == [True] * 3
    assert pngs[0] == pngs[2] != pngs[1]
    assert len(drawn) == 2
    assert pngs[0] == draw_report(summary, "light")


@given(st.lists(NUMBERS, max_size=8))
def test_bars_stay_in_their_room_and_keep_their_order(values: list[float]) -> None:
    ends, zero = bar_ends(values, 300, 700)
    assert all(300 <= column <= 700 for column in (zero, *ends))
    assert [column for _, column in sorted(zip(values, ends, strict=True))] == sorted(ends)
