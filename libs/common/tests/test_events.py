"""Events: what goes out comes back, what is wrong is refused, ids follow from causes."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as holds
from hypothesis import settings
from hypothesis import strategies as st

from tocsin_common.errors import Malformed
from tocsin_common.events import MAX_COLUMN, CandlesClosed, EquityMarked, Holding, TradesReceived, decode, encode
from tocsin_common.ids import derive

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MONEY = st.decimals(allow_nan=False, allow_infinity=False, places=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def trades(draw: st.DrawFn) -> TradesReceived:
    rows = draw(st.integers(1, 20))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    return TradesReceived(
        exchange=draw(TEXT.filter(bool)),
        symbol=draw(TEXT.filter(bool)),
        source=draw(TEXT),
        cursor=draw(st.integers(0, 2**53)),
        received_ms=draw(st.integers(0, 2**53)),
        ts_ms=column(st.integers(0, 2**53)),
        price=column(NUMBERS),
        amount=column(NUMBERS),
        side="".join(column(st.sampled_from("bs-"))),
        trade_id=column(st.none() | TEXT),
    )


@settings(max_examples=30)
@holds(trades())
def test_trades_come_back_exactly(event: TradesReceived) -> None:
    again = decode(encode(event))
    assert again == event
    assert (again.subject, again.event_id) == (event.subject, event.event_id)


@holds(MONEY, MONEY, MONEY)
def test_money_comes_back_to_the_last_decimal(cash: Decimal, value: Decimal, equity: Decimal) -> None:
    holding = Holding(position_id="p", exchange="e", symbol="s", amount=cash, mark_price=value, value=equity)
    event = EquityMarked(portfolio="p", n=1, ts_ms=1, cash=cash, holdings=[holding], equity=equity)
    again = decode(encode(event))
    assert isinstance(again, EquityMarked)
    assert [str(v) for v in (again.cash, again.holdings[0].mark_price, again.equity)] == [
        str(v) for v in (cash, value, equity)
    ]


@holds(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        assert encode(decode(data))


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "truncated"),
        (b"{}", "type"),
        (b'{"type":"nonsense.v1"}', "nonsense"),
        (b'{"type":"clock.v1"}', "stage"),
        (b'{"type":"clock.v1","stage":"noon"}', "noon"),
        (b'{"type":"dead.v1","service":1}', "service"),
        (b"\xff\xfe", "not a valid event"),
    ],
)
def test_malformed_input_says_where_it_is_wrong(data: bytes, place: str) -> None:
    with pytest.raises(Malformed, match=place):
        decode(data)


def candles(**changes: Any) -> CandlesClosed:
    columns: dict[str, Any] = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    given: dict[str, Any] = {"exchange": "e", "symbol": "s", "timeframe": "1m", "origin": "trades", "open_ms": [0]}
    return CandlesClosed(**(given | columns | changes))


@pytest.mark.parametrize("changes", [{"open": [1.0, 2.0]}, {"open_ms": []}, {"trades": [1, 2]}])
def test_columns_of_different_length_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        candles(**changes)


def test_columns_have_a_limit() -> None:
    full = {
        name: [0 if name == "open_ms" else 1.0] * (MAX_COLUMN + 1)
        for name in ("open_ms", "open", "high", "low", "close", "volume")
    }
    with pytest.raises(ValueError, match=str(MAX_COLUMN)):
        candles(**full)


def test_broken_columns_on_the_wire_are_malformed() -> None:
    data = encode(candles()).replace(b'"open":[1.0]', b'"open":[1.0,2.0]')
    with pytest.raises(Malformed, match="equally long"):
        decode(data)


CAUSES = st.lists(st.none() | st.integers() | TEXT | NUMBERS, max_size=4)
CONTENTS = st.sampled_from([b"", b"x", b"'x',)", b")"])


@holds(CAUSES, CAUSES, CONTENTS, CONTENTS)
def test_ids_differ_when_causes_or_contents_differ(one: list[Any], other: list[Any], this: bytes, that: bytes) -> None:
    same = [(type(cause), repr(cause)) for cause in one] == [(type(cause), repr(cause)) for cause in other]
    assert (derive(*one, content=this) == derive(*other, content=that)) == (same and this == that)


def test_an_id_is_for_ever() -> None:
    assert derive("signal", "ema", 1, None) == derive("signal", "ema", 1, None)
    causes = ("signal", "binance", "BTC/USDT", 1_700_000_000_000, None, 0.5)
    assert derive(*causes, content=b"x") == "0ce5d00a65bb52f4b9fabdf359e55e8a"
