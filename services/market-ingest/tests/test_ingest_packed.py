"""Packed columns: an event made of them is the event that comes back from the stream."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_ingest.columns import Instrument, TradeRows, Trades
from market_ingest.ingest import TRADE_ROWS, trade_events
from market_ingest.packed import Packed, PackedIds, largest
from tocsin_common.events import TradesReceived, decode, encode

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(finite))
def test_numbers_are_written_as_the_encoder_writes_a_list_of_them(values: list[float]) -> None:
    assert Packed(np.array(values, np.float64)).json() == msgspec.json.encode(values)


@given(st.lists(whole))
def test_whole_numbers_and_ids_are_written_as_lists_are(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert Packed(column).json() == msgspec.json.encode(values)
    assert PackedIds(column).json() == msgspec.json.encode([str(value) for value in values])


def test_a_packed_column_reads_like_a_list() -> None:
    column, ids = Packed(np.array([1.5, -2.0, 3.0])), PackedIds(np.array([7, 8]))
    assert column == [1.5, -2.0, 3.0]
    assert (column[-1], list(column[1:]), len(column), largest([*column])) == (3.0, [-2.0, 3.0], 3, largest(column))
    assert (ids[0], list(ids), ids[1:]) == ("7", ["7", "8"], ["8"])


@pytest.mark.parametrize(
    "names",
    [
        PackedIds(np.arange(3 * TRADE_ROWS)),
        PackedIds(np.arange(3 * TRADE_ROWS) * 2),
        [str(n) for n in range(3 * TRADE_ROWS)],
        [f"{n:09}" for n in range(3 * TRADE_ROWS)],
        [f"id-{n}" for n in range(3 * TRADE_ROWS)],
    ],
)
def test_a_batch_equals_what_is_decoded_from_the_stream_and_has_its_id(names: PackedIds | list[str]) -> None:
    count = np.arange(3 * TRADE_ROWS)
    trades = Trades(count + 1, count * 1e20 + 0.1, count / 7 + 1e-9, np.full(len(count), ord("b"), np.uint8), names)
    events = trade_events(TradeRows(Instrument("binance", "BTC/USDT"), trades), "replay:x", 5, 9)
    again = [decode(encode(event)) for event in events]
    assert again == events
    assert [event.event_id for event in again if isinstance(event, TradesReceived)] == [e.event_id for e in events]


def batch(price: float, *trade_id: str | None) -> TradesReceived:
    rows = len(trade_id)
    columns = {"ts_ms": [5] * rows, "price": [price] * rows, "amount": [1.0] * rows, "side": "b" * rows}
    place = {"exchange": "kraken", "symbol": "BTC/USD", "source": "live", "cursor": 0, "received_ms": 1}
    return msgspec.convert({"type": "trades.v1", **place, **columns, "trade_id": trade_id}, TradesReceived)


def test_trades_without_ids_are_known_by_everything_about_them() -> None:
    assert batch(1.0, None).event_id != batch(2.0, None).event_id
    assert batch(1.0, "1", None).event_id != batch(2.0, "1", None).event_id
    assert batch(1.0, "1").event_id == batch(2.0, "1").event_id


def test_whatever_differs_in_the_ids_of_two_batches_makes_them_two() -> None:
    names: list[tuple[str | None, ...]] = [
        ("1",),
        ("2",),
        ("01",),
        ("1", "2"),
        ("1", "3"),
        ("1", "02"),
        ("1", "2", "3"),
        ("1", "2", "4"),
        ("1", "3", "4"),
        ("1", "2", None),
        ("1+2",),
        ("9" * 40,),
        ("9" * 40, "1" + "0" * 40),
        ("\u0661", "\u0662"),
        ("x",),
        ("",),
        (None,),
    ]
    assert len({batch(1.0, *ids).event_id for ids in names}) == len(names)
