"""Pages of candles: a range in order, each candle once, whatever the exchange does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_ingest.columns import NO_CANDLES, Candles, Instrument, join, uncounted
from market_ingest.history import paging
from market_ingest.history.paging import Key, pages, settled_ms
from tocsin_common.errors import Rejected, Retryable, TocsinError

MINUTE_MS = 60_000
BTC = Key(Instrument("binance", "BTC/USDT"), "1m")
START_MS = 1_700_000_040_000


def candles_at(opens: list[int]) -> Candles:
    open_ms = np.array(opens, np.int64)
    price = 100.0 + open_ms / MINUTE_MS % 7
    return Candles(open_ms, price, price + 1, price - 1, price, np.ones(len(opens)), uncounted(len(opens)))


class Shop:
    """The outermost wall: an exchange that has candles at `opens`, gives `page` of them, and fails as it is told."""

    def __init__(self, opens: list[int], page: int = 100, first: int = 0) -> None:
        self.opens, self.page, self.first = sorted(opens), page, first
        self.failures: list[TocsinError] = []
        self.asked: list[int] = []
        self.spoil: Callable[[Candles], Candles] = lambda candles: candles

    async def fetch(self, _exchange: str, _symbol: str, _timeframe: str, since_ms: int, limit: int) -> Candles:
        self.asked.append(since_ms)
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        found = [open_ms for open_ms in self.opens if open_ms >= max(since_ms, self.first)]
        return self.spoil(candles_at(found[: min(limit, self.page)]))

    async def all(self, from_ms: int, to_ms: int) -> list[int]:
        parts = [part async for part in pages(self.fetch, BTC, from_ms, to_ms)]
        assert all(len(part) for part in parts)
        return join([NO_CANDLES, *parts]).open_ms.tolist()


def minutes(count: int, first: int = 0) -> list[int]:
    return [START_MS + (first + n) * MINUTE_MS for n in range(count)]


async def test_a_range_comes_complete_and_in_order() -> None:
    shop = Shop(minutes(500))
    assert await shop.all(START_MS + 7 * MINUTE_MS, START_MS + 333 * MINUTE_MS) == minutes(326, first=7)
    assert len(shop.asked) == 4


async def test_what_lies_outside_the_range_is_left_out() -> None:
    shop = Shop(minutes(50))
    assert await shop.all(START_MS - 1, START_MS + 9 * MINUTE_MS + 1) == minutes(10)


async def test_an_exchange_that_goes_back_further_than_asked_gives_no_more() -> None:
    shop = Shop(minutes(300, first=-50))

    async def from_before(exchange: str, symbol: str, timeframe: str, since_ms: int, limit: int) -> Candles:
        return await shop.fetch(exchange, symbol, timeframe, since_ms - 5 * MINUTE_MS, limit)

    found = [part async for part in pages(from_before, BTC, START_MS, START_MS + 240 * MINUTE_MS)]
    assert join(found).open_ms.tolist() == minutes(240)


async def test_pages_that_overlap_or_come_backwards_give_each_candle_once() -> None:
    shop = Shop(minutes(300))

    def twice_and_backwards(candles: Candles) -> Candles:
        return join([candles, candles]).rows(np.arange(2 * len(candles))[::-1])

    shop.spoil = twice_and_backwards
    assert await shop.all(START_MS, START_MS + 250 * MINUTE_MS) == minutes(250)


async def test_candles_that_cannot_be_are_left_out() -> None:
    shop = Shop(minutes(10))

    def spoil(candles: Candles) -> Candles:
        low = candles.low.copy()
        low[3], candles.volume[5], candles.open_ms[7] = np.nan, -1.0, candles.open_ms[7] + 1
        return Candles(candles.open_ms, candles.open, candles.high, low, candles.close, candles.volume, candles.trades)

    shop.spoil = spoil
    found = await shop.all(START_MS, START_MS + 10 * MINUTE_MS)
    assert found == [open_ms for n, open_ms in enumerate(minutes(10)) if n not in (3, 5, 7)]


async def test_before_a_market_was_listed_pages_are_empty_and_the_range_goes_on() -> None:
    shop = Shop(minutes(500), first=START_MS + 321 * MINUTE_MS)
    real = shop.fetch

    async def windowed(exchange: str, symbol: str, timeframe: str, since_ms: int, limit: int) -> Candles:
        page = await real(exchange, symbol, timeframe, since_ms, limit)
        return page.rows(page.open_ms < since_ms + 100 * MINUTE_MS)

    found = [part async for part in pages(windowed, BTC, START_MS, START_MS + 400 * MINUTE_MS)]
    assert join(found).open_ms.tolist() == minutes(79, first=321)


async def test_an_exchange_that_has_only_later_candles_is_not_asked_again() -> None:
    shop = Shop(minutes(10, first=5_000))
    assert await shop.all(START_MS, START_MS + 4_000 * MINUTE_MS) == []
    assert len(shop.asked) == 1


async def test_a_busy_exchange_is_waited_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(minutes(10))
    shop.failures = [Retryable("rate_limited", retry_after_s=0.02), Retryable("network")]
    monkeypatch.setattr(paging, "backoff_s", lambda attempt: attempt / 1000)
    pauses: list[tuple[str, float]] = []
    found = [
        part
        async for part in pages(
            shop.fetch, BTC, START_MS, START_MS + 5 * MINUTE_MS, on_pause=lambda *pause: pauses.append(pause)
        )
    ]
    assert join(found).open_ms.tolist() == minutes(5)
    assert pauses == [("rate_limited", 0.02), ("network", 0.002)]


async def test_an_exchange_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "backoff_s", lambda _: 0.0)
    shop = Shop(minutes(10))
    shop.failures = [Retryable("network")] * 100
    with pytest.raises(Retryable, match="network"):
        await shop.all(START_MS, START_MS + MINUTE_MS)
    assert len(shop.asked) == paging.TRIES


async def test_what_will_never_work_is_not_tried_again() -> None:
    shop = Shop(minutes(10))
    shop.failures = [Rejected("unknown_symbol")]
    with pytest.raises(Rejected):
        await shop.all(START_MS, START_MS + MINUTE_MS)
    assert len(shop.asked) == 1


def test_a_candle_is_settled_some_time_after_its_end() -> None:
    end_ms = START_MS + MINUTE_MS
    assert settled_ms(BTC, end_ms + paging.SETTLED_MS) == end_ms
    assert settled_ms(BTC, end_ms + paging.SETTLED_MS - 1) == START_MS


@settings(max_examples=60)
@given(
    present=st.sets(st.integers(0, 400)),
    page=st.integers(100, 150),
    first=st.integers(0, 400),
    count=st.integers(0, 200),
    offset=st.integers(0, MINUTE_MS - 1),
)
def test_the_pages_of_any_range_are_what_the_exchange_has_in_it(
    present: set[int], page: int, first: int, count: int, offset: int
) -> None:
    shop = Shop([START_MS + n * MINUTE_MS for n in present], page)
    from_ms = START_MS + first * MINUTE_MS - offset
    to_ms = START_MS + (first + count) * MINUTE_MS
    expected = [open_ms for open_ms in shop.opens if from_ms <= open_ms < to_ms]
    assert asyncio.run(shop.all(from_ms, to_ms)) == expected
