"""How far prices move within a window: by example, and against a reading of all prices one by one."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.matching.moves import STEPS, Move
from alerting.matching.prices import PriceWatch
from alerting.matching.rules import Rules
from alerting.words.render import of_move
from alerting.words.voice import RECORD
from tocsin_common.documents import MoveRule
from tocsin_common.events import TradesReceived

Tick = tuple[int, float]
"""Second and price."""


def move_rule(percent: float, direction: Literal["up", "down", "either"] = "either", window_s: int = 60) -> MoveRule:
    return MoveRule(
        rule_id=f"{direction}-{percent:g}-{window_s}",
        name="m",
        subscribers=[],
        exchange="x",
        symbol="A/B",
        percent=percent,
        window_s=window_s,
        direction=direction,
    )


def watch(*rules: MoveRule) -> PriceWatch:
    book = Rules()
    for rule in rules:
        book.put(rule)
    return PriceWatch(book)


def trades(*ticks: Tick) -> TradesReceived:
    return TradesReceived(
        exchange="x",
        symbol="A/B",
        source="test",
        cursor=0,
        received_ms=0,
        ts_ms=[second * 1000 for second, _ in ticks],
        price=[price for _, price in ticks],
        amount=[1.0] * len(ticks),
        side="b" * len(ticks),
        trade_id=[f"{second}-{price}" for second, price in ticks],
    )


def moves(watching: PriceWatch, *ticks: Tick) -> list[tuple[str, int, float]]:
    """Side, second and extreme of each move."""
    found = [cause for _, cause in watching.in_trades(trades(*ticks)) if isinstance(cause, Move)]
    return [(move.side, move.ts_ms // 1000, move.extreme) for move in found]


def test_rings_when_the_price_is_so_far_above_its_low_or_below_its_high() -> None:
    assert moves(watch(move_rule(5)), (0, 100), (10, 104.9), (20, 105)) == [("up", 20, 100)]
    assert moves(watch(move_rule(5)), (0, 100), (10, 95.1), (20, 95)) == [("down", 20, 100)]


def test_what_is_longer_ago_than_the_window_does_not_count() -> None:
    assert moves(watch(move_rule(5)), (0, 100), (63, 105)) == []
    assert moves(watch(move_rule(5, window_s=120)), (0, 100), (63, 105)) == [("up", 63, 100)]


def test_a_direction_rings_one_way_only() -> None:
    there_and_back = [(0, 100.0), (10, 110.0), (20, 100.0)]
    assert [move[0] for move in moves(watch(move_rule(5, "up")), *there_and_back)] == ["up"]
    assert [move[0] for move in moves(watch(move_rule(5, "down")), *there_and_back)] == ["down"]
    assert [move[0] for move in moves(watch(move_rule(5)), *there_and_back)] == ["up", "down"]


def test_one_move_rings_once_and_again_after_it_was_half_undone() -> None:
    watching = watch(move_rule(4, "up"))
    assert moves(watching, (0, 100), (1, 104), (2, 103), (3, 104), (4, 108)) == [("up", 1, 100)]
    assert moves(watching, (5, 101.9), (6, 104)) == [("up", 6, 100)]


def test_rules_with_the_same_window_share_what_is_remembered() -> None:
    watching = watch(move_rule(1, "up"), move_rule(2, "up"), move_rule(3, "up", window_s=300))
    assert len(moves(watching, (0, 100), (1, 103))) == 3
    watching.windows.settle()
    assert len(watching.windows.settled) == 2


@pytest.mark.parametrize(("side", "price"), [("up", 105.0), ("down", 95.0)])
def test_a_move_reads_as_a_person_would_say_it(side: Literal["up", "down"], price: float) -> None:
    content = of_move(Move("binance", "BTC/USDT", 5.0, 900, side, 100.0, price, 0, "1"), "my rule", RECORD)
    said = {"up": "BTC/USDT rose 5 % within 15 min", "down": "BTC/USDT fell 5 % within 15 min"}
    assert content.title == said[side]
    extreme, change = {"up": ("low", "+5.00 %"), "down": ("high", "-5.00 %")}[side]
    assert content.text == f"It is at {price:g} now, {change} from the {extreme} of 15 min."


TICKS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from([95.0, 98.0, 100.0, 102.0, 105.0])), max_size=40).map(
    lambda ticks: sorted(ticks, key=lambda tick: tick[0])
)


def one_by_one(rule: MoveRule, ticks: list[Tick]) -> list[tuple[str, int, float]]:
    """What the rule rings, looking back over all prices at every price."""
    piece_s = rule.window_s / STEPS
    found: list[tuple[str, int, float]] = []
    spent, before = {"up": False, "down": False}, {"up": 0.0, "down": 0.0}
    for row, (second, price) in enumerate(ticks):
        window = [p for s, p in ticks[: row + 1] if second // piece_s - s // piece_s <= STEPS]
        low, high = min(window), max(window)
        now = {"up": round((price / low - 1) * 100, 9), "down": round((1 - price / high) * 100, 9)}
        for side, extreme in (("up", low), ("down", high)):
            if now[side] < rule.percent / 2:
                spent[side] = False
            if before[side] < rule.percent <= now[side] and not spent[side]:
                found.append((side, second, extreme))
                spent[side] = True
        before = now
    return found


@given(ticks=TICKS, percent=st.sampled_from([2.0, 4.0, 7.0]), cuts=st.sets(st.integers(1, 39)))
def test_rings_what_a_reading_of_all_prices_says_however_trades_are_grouped(
    ticks: list[Tick], percent: float, cuts: set[int]
) -> None:
    rule = move_rule(percent)
    watching = watch(rule)
    found = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(ticks)), len(ticks)]
    for start, end in pairwise(edges):
        if ticks[start:end]:
            found += moves(watching, *ticks[start:end])
            for kept in (watching.last, watching.windows, watching.spent):
                kept.settle()
    assert sorted(found) == sorted(one_by_one(rule, ticks))
