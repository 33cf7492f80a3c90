"""Where prices cross levels: by example, and against a rule-by-rule reading of the same trades."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from alerting.matching.prices import PriceWatch
from alerting.matching.rules import Rules
from tocsin_common.documents import PriceRule
from tocsin_common.events import CandlesClosed, TradesReceived

Trade = tuple[int, float, str | None]
Ring = tuple[str, str, int, float, str]


def price_rule(
    level: float,
    direction: Literal["above", "below", "either"] = "either",
    rule_id: str = "",
    rearm_percent: float = 0.0,
) -> PriceRule:
    rule_id = rule_id or f"{direction}-{level:g}"
    return PriceRule(
        rule_id=rule_id,
        name=rule_id,
        subscribers=[],
        exchange="x",
        symbol="A/B",
        level=level,
        direction=direction,
        rearm_percent=rearm_percent,
    )


def watch(*rules: PriceRule) -> PriceWatch:
    book = Rules()
    for rule in rules:
        book.put(rule)
    return PriceWatch(book)


def trades(*rows: Trade, symbol: str = "A/B") -> TradesReceived:
    return TradesReceived(
        exchange="x",
        symbol=symbol,
        source="test",
        cursor=0,
        received_ms=0,
        ts_ms=[row[0] for row in rows],
        price=[row[1] for row in rows],
        amount=[1.0] * len(rows),
        side="b" * len(rows),
        trade_id=[row[2] for row in rows],
    )


def candles(*closes: float, first_ms: int = 0, origin: str = "exchange", revision: int = 0) -> CandlesClosed:
    column = list(closes)
    return CandlesClosed(
        exchange="x",
        symbol="A/B",
        timeframe="1m",
        origin=origin,  # type: ignore[arg-type]
        open_ms=[first_ms + 60_000 * n for n in range(len(column))],
        open=column,
        high=column,
        low=column,
        close=column,
        volume=column,
        revision=revision,
    )


def rings(found: object) -> list[Ring]:
    return [(rule.rule_id, hit.direction, hit.ts_ms, hit.price, hit.cause_id) for rule, hit in found]  # type: ignore[attr-defined]


def prices(*values: float) -> TradesReceived:
    return trades(*((n, value, str(n)) for n, value in enumerate(values)))


def test_rings_once_when_a_trade_crosses_the_level() -> None:
    found = rings(watch(price_rule(100)).in_trades(prices(99, 99.5, 100.5, 101, 102)))
    assert [ring[:4] for ring in found] == [("either-100", "above", 2, 100.5)]


def test_repaired_trades_teach_the_price_and_ring_nothing() -> None:
    watched = watch(price_rule(100))
    assert rings(watched.in_trades(trades((0, 99, "0")))) == []
    repaired = msgspec.structs.replace(trades((1, 101, "1"), (2, 98, "2"), (3, 103, "3")), repaired=True)
    assert rings(watched.in_trades(repaired)) == []
    assert rings(watched.in_trades(trades((4, 104, "4")))) == [], "it has been above since the gap"
    assert [ring[:4] for ring in rings(watched.in_trades(trades((5, 97, "5"))))] == [("either-100", "below", 5, 97)]


def test_the_level_itself_counts_as_above_so_crossings_alternate() -> None:
    found = rings(watch(price_rule(100)).in_trades(prices(99, 100, 101, 100, 99, 100)))
    assert [ring[1] for ring in found] == ["above", "below", "above"]
    assert [ring[2] for ring in found] == [1, 4, 5]


def test_a_direction_rings_one_way_only() -> None:
    both = prices(99, 101, 99)
    assert [ring[1] for ring in rings(watch(price_rule(100, "above")).in_trades(both))] == ["above"]
    assert [ring[1] for ring in rings(watch(price_rule(100, "below")).in_trades(both))] == ["below"]


def test_one_jump_over_many_levels_rings_each() -> None:
    watching = watch(*(price_rule(level) for level in (90, 100, 110, 120)))
    found = rings(watching.in_trades(prices(95, 115)))
    assert [ring[0] for ring in found] == ["either-100", "either-110"]


def test_the_first_price_ever_is_no_crossing() -> None:
    assert rings(watch(price_rule(100)).in_trades(prices(101))) == []


def test_the_last_price_is_known_before_a_rule_is_made() -> None:
    book = Rules()
    watching = PriceWatch(book)
    list(watching.in_trades(prices(99)))
    book.put(price_rule(100))
    assert [ring[1] for ring in rings(watching.in_trades(trades((5, 101.0, "5"))))] == ["above"]


def test_another_instrument_rings_nothing() -> None:
    assert rings(watch(price_rule(100)).in_trades(trades((1, 99.0, "1"), (2, 101.0, "2"), symbol="A/C"))) == []


def test_a_late_trade_neither_rings_nor_counts() -> None:
    watching = watch(price_rule(100))
    assert rings(watching.in_trades(trades((10, 101.0, "1"), (5, 99.0, "late"), (11, 102.0, "2")))) == []
    assert rings(watching.in_trades(trades((9, 98.0, "later")))) == []
    assert rings(watching.in_trades(trades((12, 103.0, "3")))) == []


def test_a_batch_that_comes_again_rings_the_same() -> None:
    watching = watch(price_rule(100))
    list(watching.in_trades(prices(99)))
    watching.last.settle()
    batch = trades((10, 101.0, "10"))
    first = rings(watching.in_trades(batch))
    watching.last.revert()
    assert rings(watching.in_trades(batch)) == first != []


def test_closes_of_exchange_candles_ring_at_their_close() -> None:
    found = rings(watch(price_rule(100)).in_candles(candles(99, 101)))
    assert [ring[1:4] for ring in found] == [("above", 120_000, 101)]


def test_candles_of_other_origins_and_corrections_ring_nothing() -> None:
    watching = watch(price_rule(100))
    for event in (candles(99, 101, origin="trades"), candles(99, 101, origin="history"), candles(99, 101, revision=1)):
        assert rings(watching.in_candles(event)) == []


def test_trades_without_ids_are_named_by_what_they_are() -> None:
    rows: list[Trade] = [(1, 99.0, None), (2, 101.0, None), (3, 99.0, None), (4, 101.0, None)]
    found = rings(watch(price_rule(100)).in_trades(trades(*rows)))
    assert len({ring[4] for ring in found}) == 3


def at(watching: PriceWatch, *values: float) -> list[int]:
    """Which of these prices rang."""
    return [ring[2] for ring in rings(watching.in_trades(prices(*values)))]


def test_after_a_ring_the_price_must_first_have_been_away() -> None:
    sticky = price_rule(100, rearm_percent=5)
    assert at(watch(sticky), 99, 101, 99, 101, 99) == [1]
    assert at(watch(sticky), 99, 101, 105, 99) == [1, 3], "it was away above"
    assert at(watch(sticky), 99, 101, 94, 101) == [1, 3], "it was away below; falling there, it was not yet"
    assert at(watch(sticky), 99, 106, 99) == [1, 2], "it jumped away as it rang"
    assert at(watch(price_rule(100, "above", rearm_percent=5)), 99, 101, 106, 99, 101) == [1, 4]


def test_repaired_trades_arm_a_rule_and_do_not_spend_it() -> None:
    watching = watch(price_rule(100, rearm_percent=5))

    def rang(ts_ms: int, price: float, *, repaired: bool = False) -> bool:
        event = msgspec.structs.replace(trades((ts_ms, price, str(ts_ms))), repaired=repaired)
        return bool(rings(watching.in_trades(event)))

    assert [rang(1, 99), rang(2, 101, repaired=True), rang(3, 99), rang(4, 101)] == [False, False, True, False]
    assert [rang(5, 106, repaired=True), rang(6, 99)] == [False, True]


def test_candles_of_other_lengths_are_no_prices() -> None:
    assert rings(watch(price_rule(100)).in_candles(msgspec.structs.replace(candles(99, 101), timeframe="5m"))) == []


@given(
    values=st.lists(st.sampled_from([90.0, 94.0, 96.0, 99.0, 100.0, 101.0, 104.0, 105.0, 110.0]), max_size=30),
    direction=st.sampled_from(["above", "below", "either"]),
    again=st.sets(st.integers(1, 29)),
)
def test_no_rule_rings_twice_without_having_been_armed_and_none_that_is_armed_keeps_still(
    values: list[float], direction: Literal["above", "below", "either"], again: set[int]
) -> None:
    watching = watch(price_rule(100, direction, rearm_percent=5))
    expected, found, armed = [], [], True
    for row, value in enumerate(values):
        batch = trades((row, value, str(row)))
        rang = rings(watching.in_trades(batch))
        if row in again:
            watching.last.revert()
            watching.spent.revert()
            assert rings(watching.in_trades(batch)) == rang
        watching.last.settle()
        watching.spent.settle()
        found += [row] * len(rang)
        crossed = row > 0 and (values[row - 1] >= 100) != (value >= 100)
        if crossed and armed and direction in ("either", "above" if value >= 100 else "below"):
            expected.append(row)
            armed = False
        armed = armed or value >= 105 or value < 95
    assert found == expected


LEVELS = st.lists(st.sampled_from([1.0, 2.0, 2.5, 3.0, 4.0]), min_size=1, max_size=6)
ROWS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0.5, 1.0, 2.0, 2.2, 2.5, 3.0, 3.5, 5.0])), max_size=40)


def one_by_one(rules: list[PriceRule], rows: list[tuple[int, float]]) -> list[tuple[str, str, int]]:
    """What each rule alone would ring, reading trade after trade."""
    found = []
    for rule in rules:
        above: bool | None = None
        newest = -1
        for row, (ts_ms, price) in enumerate(rows):
            if ts_ms < newest:
                continue
            newest = ts_ms
            before, above = above, price >= rule.level
            direction = "above" if above else "below"
            if before not in (None, above) and rule.direction in (direction, "either"):
                found.append((rule.rule_id, direction, row))
    return sorted(found)


@given(
    levels=LEVELS,
    directions=st.lists(st.sampled_from(["above", "below", "either"]), min_size=6, max_size=6),
    rows=ROWS,
    cuts=st.sets(st.integers(1, 39)),
)
def test_rings_what_each_rule_alone_would_however_trades_are_grouped(
    levels: list[float],
    directions: list[Literal["above", "below", "either"]],
    rows: list[tuple[int, float]],
    cuts: set[int],
) -> None:
    rules = [price_rule(level, directions[n], f"r{n}") for n, level in enumerate(levels)]
    named: list[Trade] = [(ts_ms, price, f"t{row}") for row, (ts_ms, price) in enumerate(rows)]

    def ring(groups: list[list[Trade]]) -> list[tuple[str, str, str]]:
        watching = watch(*rules)
        found = [hit for group in groups if group for hit in watching.in_trades(trades(*group))]
        return sorted((rule.rule_id, hit.direction, hit.reference) for rule, hit in found)

    edges = [0, *sorted(cut for cut in cuts if cut < len(named)), len(named)]
    grouped = ring([named[start:end] for start, end in pairwise(edges)])
    assert grouped == ring([named])
    assert grouped == sorted((rule, way, f"t{row}") for rule, way, row in one_by_one(rules, rows))
