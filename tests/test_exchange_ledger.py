"""The truth the other tests are measured by, against numbers worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.exchange.ledger import Ledger, checksum

BTC = "BTC/USDT"
MINUTE = 60_000
T0 = 1_700_000_040_000
"""A whole minute."""


def recorded(ledger: Ledger, ts_ms: int, price: str, amount: str = "1", side: str = "buy") -> None:
    ledger.record(BTC, ts_ms, Decimal(price), Decimal(amount), side)


def test_candles_are_exact_and_silence_is_flat() -> None:
    ledger = Ledger()
    recorded(ledger, T0, "100", "0.1")
    recorded(ledger, T0 + 30_000, "103", "0.2", "sell")
    recorded(ledger, T0 + MINUTE - 1, "99.5", "0.3")
    recorded(ledger, T0 + 2 * MINUTE, "98", "1")
    first, flat, last = ledger.candles(BTC, "1m")
    assert first[:5] == (T0, Decimal(100), Decimal(103), Decimal("99.5"), Decimal("99.5"))
    assert (first.volume, first.quote_volume, first.trades) == (Decimal("0.6"), Decimal("60.45"), 3)
    assert (first.taker_volume, first.taker_quote_volume) == (Decimal("0.4"), Decimal("39.85"))
    assert (first.first, first.last) == (1, 3)
    assert flat[:6] == (T0 + MINUTE, *[Decimal("99.5")] * 4, 0)
    assert (last.open_ms, last.volume) == (T0 + 2 * MINUTE, Decimal(1))
    [longer] = ledger.candles(BTC, "1h")
    assert longer.open_ms == T0 // (60 * MINUTE) * 60 * MINUTE
    assert (longer.low, longer.volume) == (Decimal(98), Decimal("1.6"))


def test_candles_end_where_they_are_asked_to() -> None:
    ledger = Ledger()
    recorded(ledger, T0, "100")
    recorded(ledger, T0 + MINUTE, "101")
    assert [c.open_ms - T0 for c in ledger.candles(BTC, "1m", T0 + MINUTE - 1)] == [0]
    assert [c.open_ms - T0 for c in ledger.candles(BTC, "1m", T0 + 3 * MINUTE)] == [n * MINUTE for n in range(4)]
    assert ledger.open_candle(BTC, "1m").open == 101


def test_fills_of_one_order_are_one_aggregate_only_at_one_price_and_time() -> None:
    ledger = Ledger()
    for ts_ms, price in ((T0, "100"), (T0, "100"), (T0, "101"), (T0 + 1, "101")):
        ledger.record(BTC, ts_ms, Decimal(price), Decimal(1), "buy", same_order=True)
    assert [[trade.number for trade in group] for group in ledger.aggregates(BTC)] == [[1, 2], [3], [4]]


def test_what_is_forgotten_still_counts() -> None:
    ledger = Ledger(keep=9)
    for number in range(100):
        recorded(ledger, T0 + number * MINUTE // 4, "100", "0.5")
    kept, tally = ledger.trades(BTC), ledger.tally(BTC)
    assert 9 <= len(kept) <= 18
    assert (tally.count, tally.first_id, tally.last_id, tally.volume) == (100, "1", "100", Decimal(50))
    shares = [checksum(str(n + 1), T0 + n * MINUTE // 4, 100.0, 0.5, "buy") for n in range(100)]
    assert tally.checksum == sum(shares) % 2**64
    assert ledger.candles(BTC, "1m")[0].open_ms > kept[0].ts_ms, "an interval partly forgotten gives no candle"


def test_a_trade_cannot_be_older_than_the_last() -> None:
    ledger = Ledger()
    recorded(ledger, T0, "100")
    with pytest.raises(ValueError, match="after one at"):
        recorded(ledger, T0 - 1, "100")
