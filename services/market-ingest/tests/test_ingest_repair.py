"""The line of an instrument's trades: whatever is lost, repeated or fetched, every trade comes once, in order, or lies
in a hole."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market_ingest.sources.live.repair import MAX_HELD, Continuity, Hole, Position, Released
from market_ingest.sources.live.rows import Row
from market_ingest.sources.live.venues import Ids

Action = tuple[str, int, int]
"""What happens, and two numbers that say how much."""


def row(number: int, ids: Ids = "contiguous", *, live: bool = True, parts: int = 1, refused: str | None = None) -> Row:
    """Trade `number`: ids skip where they only increase; where they are opaque, two trades share a millisecond."""
    order = {"contiguous": number, "increasing": 3 * number, "opaque": number // 2}[ids]
    name = f"id {number}" if ids == "opaque" else str(order)
    return Row(order, parts, number, float(number), 1.0, ord("b"), name, 1 if live else None, refused)


class Market:
    """Trades 0, 1, 2 ... of an exchange, and what a line makes of them."""

    def __init__(self, ids: Ids) -> None:
        self.ids: Ids = ids
        self.line = Continuity(ids)
        self.traded = 0
        self.arrived: list[int] = []
        self.pieces: list[list[Row] | Hole] = []

    def live(self, count: int, *, lost: int = 0, repeated: int = 0, readable: int | None = None) -> None:
        """`count` trades happen; of them the first `lost` do not arrive, and some that came before come again. After so
        many `readable` ones there is always one that cannot be used."""
        first = self.traded
        self.traded += count
        numbers = [*(self.arrived[-repeated:] if repeated else ()), *range(first + min(lost, count), self.traded)]
        spoiled = {} if readable is None else dict.fromkeys(numbers[readable :: readable + 1], "bad_price")
        self.arrived += [number for number in numbers if number >= first and number not in spoiled]
        rows = [row(number, self.ids, refused=spoiled.get(number)) for number in numbers]
        if self.line.goes_on(rows):
            self.pieces.append(rows)
        else:
            self._take(self.line.live(rows))

    def drop(self, missed: int) -> None:
        self.line.interrupt("disconnected")
        self.traded += missed

    def fetch(self, reach: int, pages: int, *, missed: int | None = None) -> None:
        """REST has the last `reach` trades, and gives what it has in pages. `missed`: while the answer is on its way,
        the connection is lost, and with it so many trades."""
        last = self.line.last
        if last is None:
            return
        first = max(0, self.traded - reach)
        rows = [row(number, self.ids, live=False) for number in range(first, self.traded)]
        reaches_back = bool(rows) and (rows[0].order < last.order or rows[0].trade_id == last.trade_id)
        if self.ids == "contiguous":
            rows = [one for one in rows if one.order > last.order]
            size = max(1, -(-len(rows) // max(1, pages)))
            parts = [rows[at : at + size] for at in range(0, len(rows), size)] or [[]]
            for at, part in enumerate(parts):
                self._answered(part, reaches_back=True, complete=at == len(parts) - 1, missed=missed)
        else:
            self._answered(rows, reaches_back=reaches_back, complete=True, missed=missed)

    def _answered(self, rows: list[Row], *, reaches_back: bool, complete: bool, missed: int | None) -> None:
        if missed is not None:
            self.drop(missed)
        self._take(self.line.fetched(rows, reaches_back=reaches_back, complete=complete and missed is None))

    def give_up(self) -> None:
        self._take(self.line.give_up())

    def act(self, action: Action) -> None:
        kind, much, more = action
        match kind:
            case "trade":
                self.live(much, repeated=more)
            case "lose" if self.ids == "contiguous":
                self.live(much, lost=more)
            case "spoil":
                self.live(much, readable=more)
            case "drop":
                self.drop(more)
            case "fetch":
                self.fetch(much * more, more)
            case "fetch and drop":
                self.fetch(much * 5, 1, missed=more)
            case "give up":
                self.give_up()

    def finish(self) -> None:
        """The connection lives and REST answers: everything is decided."""
        self.live(1)
        self.fetch(self.traded + 1, 1)
        self.live(1)

    def check(self) -> None:
        rows = [one for piece in self.pieces if isinstance(piece, list) for one in piece]
        assert not any(one.refused for one in rows)
        released = [one.trade_id for one in rows]
        everything = [row(number, self.ids) for number in range(self.traded)]
        place = {one.trade_id: at for at, one in enumerate(everything)}
        places = [place[name] for name in released]
        assert places == sorted(set(places)), "not in order, or something twice"
        holes = [piece for piece in self.pieces if isinstance(piece, Hole)]
        lost = {at for hole in holes for at in _inside(hole, place)}
        assert lost.isdisjoint(places)
        if self.ids == "opaque":  # a hole in time reaches through the millisecond of the row after it
            ends = {hole.after.order for hole in holes}
            lost |= {at for at, one in enumerate(everything) if one.order in ends}
        assert lost | set(places) == set(range(places[0] if places else self.traded, self.traded))

    def _take(self, out: Released) -> None:
        assert not out.late
        self.pieces += out.pieces


def _inside(hole: Hole, place: dict[str | None, int]) -> Iterable[int]:
    return range(place[hole.before.trade_id] + 1, place[hole.after.trade_id])


actions = st.lists(
    st.tuples(
        st.sampled_from(["trade", "trade", "lose", "spoil", "drop", "fetch", "fetch and drop", "give up"]),
        st.integers(0, 8),
        st.integers(0, 5),
    ),
    max_size=25,
)


@pytest.mark.parametrize("ids", ["contiguous", "increasing", "opaque"])
@given(happened=actions)
@example(happened=[("trade", 1, 0), ("drop", 0, 0)])  # a trade in the millisecond in which a hole ends
@example(happened=[("drop", 0, 0), ("trade", 2, 0), ("drop", 0, 4), ("fetch", 1, 4)])
@example(happened=[("trade", 1, 0), ("drop", 0, 0), ("trade", 1, 0), ("drop", 0, 1), ("drop", 0, 5), ("fetch", 2, 3)])
def test_every_trade_comes_once_and_in_order_or_lies_in_a_hole(ids: Ids, happened: list[Action]) -> None:
    market = Market(ids)
    market.live(1)
    for action in happened:
        market.act(action)
    market.finish()
    assert market.line.broken is None
    market.check()


def rows_of(out: Released) -> list[str | None]:
    return [one.trade_id for piece in out.pieces if isinstance(piece, list) for one in piece]


def test_trades_that_changed_places_need_no_repair_where_ids_are_consecutive() -> None:
    line = Continuity("contiguous", Position(4, 0, "4"))
    assert rows_of(line.live([row(6)])) == []
    assert line.broken == "gap"
    assert rows_of(line.live([row(5)])) == ["5", "6"]
    assert line.broken is None


def test_a_consecutive_id_after_a_reconnect_proves_that_nothing_is_missing() -> None:
    line = Continuity("contiguous", Position(4, 0, "4"))
    line.interrupt("disconnected")
    assert not line.goes_on([row(5)])
    assert rows_of(line.live([row(5)])) == ["5"]
    assert line.broken is None
    assert line.goes_on([row(6)])


def test_ids_that_may_skip_are_remembered_even_where_they_do_not() -> None:
    line = Continuity("increasing", Position(3, 0, "3"))
    for number in (4, 5):
        assert not line.goes_on([row(2)._replace(order=number, trade_id=str(number))])


def test_without_consecutive_ids_trades_wait_until_rest_has_given_what_was_before_them() -> None:
    line = Continuity("increasing", Position(3, 0, "3"))
    line.interrupt("disconnected")
    assert rows_of(line.live([row(4, "increasing")])) == []
    early = line.fetched([row(2, "increasing", live=False)], reaches_back=True, complete=True)
    assert rows_of(early) == ["6"], "REST lags behind: what it has goes out, the rest waits"
    assert line.broken == "disconnected"
    late = line.fetched(
        [row(3, "increasing", live=False), row(4, "increasing", live=False)], reaches_back=True, complete=True
    )
    assert rows_of(late) == ["9", "12"]
    assert late.fetched == 1, "the last one came live"
    assert line.broken is None


def test_a_price_that_is_no_price_is_fetched_again_and_passed_over_if_the_exchange_insists() -> None:
    line = Continuity("contiguous", Position(4, 0, "4"))
    assert rows_of(line.live([row(5, refused="bad_price")])) == []
    assert line.broken == "refused"
    out = line.fetched([row(5, live=False, refused="bad_price"), row(6, live=False)], reaches_back=True, complete=True)
    assert rows_of(out) == ["6"]
    assert not any(isinstance(piece, Hole) for piece in out.pieces)
    assert line.broken is None


def test_a_trade_that_stands_for_several_replaces_them() -> None:
    line = Continuity("increasing", Position(3, 0, "3"))
    line.interrupt("disconnected")
    line.live([row(5, "increasing", parts=3)])
    single = [row(number, "increasing", live=False) for number in range(2, 7)]
    assert rows_of(line.fetched(single, reaches_back=True, complete=True)) == ["6", "15", "18"]


def test_a_trade_behind_the_line_is_not_released_where_ids_may_skip() -> None:
    line = Continuity("increasing", Position(3, 0, "3"))
    out = line.live([row(4, "increasing")])
    out = line.live([row(2, "increasing"), row(5, "increasing")])
    assert rows_of(out) == ["15"]
    assert [one.trade_id for one in out.late] == ["6"]


def test_an_answer_without_any_trade_proves_nothing() -> None:
    line = Continuity("opaque", Position(3, 3, "id 6"))
    line.interrupt("disconnected")
    line.fetched([], reaches_back=False, complete=True)
    assert line.broken == "disconnected"


def test_what_waits_is_bounded() -> None:
    line = Continuity("contiguous", Position(4, 0, "4"))
    out = line.live([row(number) for number in range(10, 10 + MAX_HELD + 1)])
    assert [piece for piece in out.pieces if isinstance(piece, Hole)] == [
        Hole(Position(4, 0, "4"), Position(10, 10, "10"))
    ]
    assert len(rows_of(out)) == MAX_HELD + 1
    assert line.broken is None
