"""`market.history`: one range from stream and exchange, without hole and double."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from market_ingest.columns import Candles, Instrument, uncounted
from market_ingest.history import serving
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import SETTLED_MS, Key
from market_ingest.history.serving import History, holes, newest
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Rejected, Retryable, TocsinError
from tocsin_common.events import CandlesClosed
from tocsin_common.requests import HISTORY, HistoryReply, HistoryRequest

MINUTE_MS = 60_000
NOW_MS = 1_700_000_040_000 + 30_000
BTC = Key(Instrument("binance", "BTC/USDT"), "1m")
START_MS = NOW_MS // MINUTE_MS * MINUTE_MS - 200 * MINUTE_MS


def event(first: int, count: int = 1, *, price: float = 1.0, **more: Any) -> CandlesClosed:
    """Minutes from the start on, told apart by their price."""
    prices = [price] * count
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), prices)
    opens = [START_MS + (first + n) * MINUTE_MS for n in range(count)]
    names = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m", "origin": "trades", **more}
    return CandlesClosed(**names, open_ms=opens, **columns)


class Shop:
    """The outermost wall: an exchange with every minute but some, at the price 9."""

    def __init__(self, lacks: Sequence[int] = ()) -> None:
        self.lacks = {START_MS + n * MINUTE_MS for n in lacks}
        self.asked: list[int] = []
        self.error: TocsinError | None = None

    async def fetch(self, _exchange: str, _symbol: str, _timeframe: str, since_ms: int, limit: int) -> Candles:
        self.asked.append((since_ms - START_MS) // MINUTE_MS)
        if self.error:
            raise self.error
        opens = [at for at in range(since_ms, NOW_MS, MINUTE_MS) if at not in self.lacks][: min(limit, 100)]
        nines = np.full(len(opens), 9.0)
        return Candles(np.array(opens, np.int64), nines, nines, nines, nines, nines, uncounted(len(opens)))


@pytest.fixture(params=["memory_bus", "jetstream_bus"])
def bus(request: pytest.FixtureRequest) -> Bus:
    found: Bus = request.getfixturevalue(request.param)
    return found


def history(bus: Bus, shop: Shop) -> History:
    return History(bus, shop.fetch, HistoryMetrics(CollectorRegistry()), now_ms=lambda: NOW_MS)


def asked(first: int, end: int, *, limit: int = 1000, **names: str) -> HistoryRequest:
    names = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m", **names}
    return HistoryRequest(**names, from_ms=START_MS + first * MINUTE_MS, to_ms=START_MS + end * MINUTE_MS, limit=limit)


def minutes(reply: HistoryReply) -> dict[int, float]:
    """Price by minute; fails where one is there twice or out of order."""
    found = [(at - START_MS) // MINUTE_MS for at in reply.open_ms]
    assert found == sorted(set(found))
    return dict(zip(found, reply.close, strict=True))


async def test_the_stream_is_asked_first_and_the_exchange_for_the_rest(bus: Bus) -> None:
    await bus.publish([event(50, 10), event(60), event(62, 3)])
    shop = Shop()
    reply = await history(bus, shop).answer(asked(40, 70))
    stored = {*range(50, 61), *range(62, 65)}
    assert minutes(reply) == {n: 1.0 if n in stored else 9.0 for n in range(40, 70)}
    assert set(reply.origin) == {"trades", "history"}
    assert reply.next_ms is None
    assert shop.asked == [40, 61, 65]


async def test_where_the_stream_has_everything_no_exchange_is_asked(bus: Bus) -> None:
    await bus.publish([event(10, 50)])
    shop = Shop()
    assert set(minutes(await history(bus, shop).answer(asked(10, 60)))) == set(range(10, 60))
    assert shop.asked == []


async def test_the_newest_revision_of_a_candle_counts(bus: Bus) -> None:
    fixed = event(12, 2, price=3.0, revision=2, origin="exchange")
    await bus.publish([event(10, 5), fixed, event(12, 1, price=2.0, revision=1, origin="exchange")])
    reply = await history(bus, Shop()).answer(asked(10, 15))
    assert minutes(reply) == {10: 1.0, 11: 1.0, 12: 3.0, 13: 3.0, 14: 1.0}
    assert reply.revision == [0, 0, 2, 2, 0]
    assert reply.origin == ["trades", "trades", "exchange", "exchange", "trades"]


async def test_a_long_range_comes_in_pages_that_fit_together(bus: Bus) -> None:
    await bus.publish([event(30, 25)])
    answering, question = history(bus, Shop()), asked(0, 100, limit=17)
    found: dict[int, float] = {}
    sizes = []
    next_ms: int | None = question.from_ms
    while next_ms is not None:
        question = asked((next_ms - START_MS) // MINUTE_MS, 100, limit=17)
        reply = await answering.answer(question)
        sizes.append(len(reply.open_ms))
        assert not found.keys() & minutes(reply).keys()
        found |= minutes(reply)
        next_ms = reply.next_ms
    assert sizes == [17, 17, 17, 17, 17, 15]
    assert list(found) == list(range(100))


async def test_candles_that_are_not_closed_yet_are_not_in_an_answer(bus: Bus) -> None:
    assert (NOW_MS // MINUTE_MS) * MINUTE_MS == START_MS + 200 * MINUTE_MS
    assert list(minutes(await history(bus, Shop()).answer(asked(190, 300)))) == list(range(190, 200))
    assert (await history(bus, Shop()).answer(asked(250, 300))).open_ms == []


async def test_what_the_exchange_may_still_change_is_taken_from_the_stream_only(bus: Bus) -> None:
    answering = History(
        bus, Shop().fetch, HistoryMetrics(CollectorRegistry()), now_ms=lambda: NOW_MS - 30_000 + SETTLED_MS - 1
    )
    assert list(minutes(await answering.answer(asked(195, 300)))) == list(range(195, 199))
    await bus.publish([event(199)])
    assert minutes(await answering.answer(asked(195, 300)))[199] == 1.0


async def test_what_the_exchange_lacks_is_a_hole_and_many_holes_are_one_question(bus: Bus) -> None:
    await bus.publish([event(n) for n in range(10, 40, 2)])
    shop = Shop(lacks=[15])
    found = minutes(await history(bus, shop).answer(asked(10, 40)))
    assert set(found) == set(range(10, 40)) - {15}
    assert shop.asked == [11]


async def test_where_the_exchange_cannot_be_asked_no_half_answer_is_given(bus: Bus) -> None:
    shop = Shop()
    shop.error = Retryable("rate_limited", "enough", retry_after_s=5.0)
    await bus.publish([event(10, 5)])
    with pytest.raises(Retryable) as error:
        await history(bus, shop).answer(asked(10, 20))
    assert error.value.retry_after_s == 5.0
    assert len(shop.asked) == 1
    assert len((await history(bus, shop).answer(asked(10, 15))).open_ms) == 5


@pytest.mark.parametrize(
    ("names", "reason"),
    [({"timeframe": "2m"}, "no_such_timeframe"), ({"symbol": "BTC"}, "bad_symbol"), ({"exchange": "*"}, "bad_symbol")],
)
async def test_what_cannot_be_is_refused(bus: Bus, names: dict[str, str], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        await history(bus, Shop()).answer(asked(0, 10, **names))


async def test_a_range_of_too_many_messages_is_refused(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MAX_MESSAGES", 20)
    await bus.publish([event(n) for n in range(21)])
    with pytest.raises(Rejected, match="too_much"):
        await history(bus, Shop()).answer(asked(0, 10))


async def test_it_is_asked_over_the_bus(jetstream_bus: JetStreamBus) -> None:
    shop = Shop()
    await jetstream_bus.publish([event(10, 5)])
    async with jetstream_bus.serve(HISTORY, history(jetstream_bus, shop).answer):
        reply = await jetstream_bus.request(HISTORY, asked(8, 20))
        assert minutes(reply) == {n: 1.0 if 10 <= n < 15 else 9.0 for n in range(8, 20)}
        shop.error = Retryable("rate_limited", retry_after_s=5.0)
        with pytest.raises(Retryable, match="rate_limited"):
            await jetstream_bus.request(HISTORY, asked(0, 5))


@pytest.mark.parametrize(("from_ms", "to_ms", "limit"), [(5, 5, 10), (-1, 5, 10), (1, 5, 0), (1, 5, 10_001)])
def test_a_question_that_makes_no_sense_cannot_be_asked(from_ms: int, to_ms: int, limit: int) -> None:
    with pytest.raises(ValueError, match=r"no range of time|is not between"):
        HistoryRequest(exchange="x", symbol="A/B", timeframe="1m", from_ms=from_ms, to_ms=to_ms, limit=limit)


@settings(max_examples=100)
@given(
    messages=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6), st.integers(0, 3)), max_size=12),
    first=st.integers(0, 30),
    count=st.integers(0, 30),
)
def test_the_version_that_counts_is_the_first_of_the_highest_revision(
    messages: list[tuple[int, int, int]], first: int, count: int
) -> None:
    events = [event(at, size, price=float(n + 1), revision=revision) for n, (at, size, revision) in enumerate(messages)]
    expected: dict[int, tuple[int, float]] = {}
    for n, (at, size, revision) in enumerate(messages):
        for minute in range(at, at + size):
            if first <= minute < first + count and expected.get(minute, (-1, 0.0))[0] < revision:
                expected[minute] = (revision, float(n + 1))
    found = newest(events, START_MS + first * MINUTE_MS, START_MS + (first + count) * MINUTE_MS)
    at = ((found.candles.open_ms - START_MS) // MINUTE_MS).tolist()
    values = zip(found.revision.tolist(), found.candles.close.tolist(), strict=True)
    assert list(zip(at, values, strict=True)) == sorted(expected.items())


@given(present=st.sets(st.integers(0, 20)), first=st.integers(0, 20), count=st.integers(0, 20))
def test_holes_cover_what_is_absent(present: set[int], first: int, count: int) -> None:
    column = np.array(sorted(START_MS + n * MINUTE_MS for n in present), np.int64)
    found = holes(column, BTC, START_MS + first * MINUTE_MS, START_MS + (first + count) * MINUTE_MS)
    covered = {(at - START_MS) // MINUTE_MS for begin, end in found for at in range(begin, end, MINUTE_MS)}
    absent = set(range(first, first + count)) - present
    assert absent <= covered <= set(range(first, first + count))
    assert covered == absent or len(found) == 1
