"""Comparing closed candles with the exchange's own: what is equal, what is corrected, what is asked for again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from market_ingest.columns import Candles, Instrument, uncounted
from market_ingest.history.paging import Key
from market_ingest.reconcile.book import LOOKS_MAX, MISSING_MAX, Book
from market_ingest.reconcile.compare import Ours, comparable, compare
from market_ingest.reconcile.metrics import ReconcileMetrics
from market_ingest.reconcile.reconciler import AGE_MS, Reconciler
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import CandlesClosed, Difference, Origin
from tocsin_common.streams import CANDLES, SNAPSHOTS

BTC = Instrument("binance", "BTC/USDT")
MINUTES = Key(BTC, "1m")
MINUTE_MS = 60_000
START_MS = 1_700_006_400_000

Row = tuple[float, float, float, float, float]
FLAT: Row = (10.0, 10.0, 10.0, 10.0, 0.0)
UP: Row = (10.0, 12.0, 9.0, 11.0, 3.5)


def at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


def given_by_exchange(rows: dict[int, Row]) -> Candles:
    """Candles by minute."""
    values = np.array([rows[minute] for minute in sorted(rows)], np.float64).reshape(-1, 5)
    return Candles(np.array([at(minute) for minute in sorted(rows)], np.int64), *values.T, uncounted(len(rows)))


def closed(
    rows: dict[int, Row], *, revision: int = 0, origin: Origin = "trades", symbol: str = "BTC/USDT"
) -> CandlesClosed:
    """One message of minutes."""
    first, high, low, close, volume = (list(column) for column in zip(*rows.values(), strict=True))
    return CandlesClosed(
        exchange="binance",
        symbol=symbol,
        timeframe="1m",
        origin=origin,
        open_ms=[at(minute) for minute in rows],
        open=first,
        high=high,
        low=low,
        close=close,
        volume=volume,
        revision=revision,
    )


def ours(row: Row, revision: int = 0) -> Ours:
    return Ours(revision, *row)


def test_equal_candles_need_no_correction() -> None:
    verdict = compare(MINUTES, {at(0): ours(UP), at(1): ours(FLAT)}, given_by_exchange({0: UP, 1: FLAT}))
    assert (verdict.equal, verdict.events) == (2, [])


def test_a_candle_that_differs_is_published_as_the_next_revision_with_the_difference() -> None:
    theirs: Row = (10.0, 12.5, 9.0, 11.0, 3.8)
    verdict = compare(MINUTES, {at(0): ours(UP), at(1): ours(UP, 2)}, given_by_exchange({0: theirs, 1: theirs}))
    assert verdict.corrected == 2
    assert [(event.revision, event.open_ms, event.high, event.origin) for event in verdict.events] == [
        (1, [at(0)], [12.5], "exchange"),
        (3, [at(1)], [12.5], "exchange"),
    ]
    moved = Difference(open=[0.0], high=[0.5], low=[0.0], close=[0.0], volume=[0.3])
    assert [event.difference for event in verdict.events] == [moved, moved]


def test_a_candle_that_a_gap_left_out_is_added_without_a_difference() -> None:
    theirs = given_by_exchange({0: UP, 1: UP, 2: FLAT})
    verdict = compare(MINUTES, {at(0): ours(FLAT), at(1): None, at(2): None}, theirs)
    corrected, added = verdict.events
    assert (verdict.corrected, verdict.added) == (1, 2)
    assert (corrected.open_ms, corrected.revision) == ([at(0)], 1)
    assert (added.open_ms, added.revision, added.difference, added.trades) == ([at(1), at(2)], 1, None, None)
    assert corrected.event_id != added.event_id


def test_silence_of_ours_equals_no_candle_of_theirs_and_trades_do_not() -> None:
    verdict = compare(MINUTES, {at(0): ours(FLAT), at(1): ours(UP), at(2): None}, given_by_exchange({}))
    assert verdict.equal == 1
    assert verdict.unavailable == [at(1), at(2)]


@pytest.mark.parametrize(
    ("volume", "same"),
    [(3.5, True), (3.500000004, True), (3.49999999, False), (3.50000001, False), (3.6, False)],
)
def test_volumes_are_compared_in_the_digits_the_exchange_prints(volume: float, same: bool) -> None:
    verdict = compare(MINUTES, {at(0): ours(UP)}, given_by_exchange({0: (*UP[:4], volume)}))
    assert bool(verdict.equal) is same


def test_what_a_long_sum_loses_by_rounding_is_no_difference() -> None:
    large = 123_456_789_012.34567
    rounded = float(np.nextafter(large, np.inf))
    verdict = compare(MINUTES, {at(0): ours((*UP[:4], large))}, given_by_exchange({0: (*UP[:4], rounded)}))
    assert verdict.equal == 1


def test_prices_are_compared_exactly() -> None:
    moved = float(np.nextafter(12.0, 13.0))
    verdict = compare(MINUTES, {at(0): ours(UP)}, given_by_exchange({0: (10.0, moved, 9.0, 11.0, 3.5)}))
    assert verdict.corrected == 1


@pytest.mark.parametrize(
    ("exchange", "symbol", "answer"),
    [
        ("binance", "BTC/USDT", True),
        ("binance", "BTC/USDT:USDT", False),
        ("binance", "BTC/USD:BTC", False),
        ("bybit", "BTC/USDT", False),
    ],
)
def test_only_markets_proven_to_agree_are_compared(exchange: str, symbol: str, answer: bool) -> None:
    assert comparable(Instrument(exchange, symbol)) is answer


def test_a_book_waits_for_built_candles_and_for_those_a_gap_left_out() -> None:
    book = Book()
    book.take(closed({-2: FLAT, -1: FLAT}, origin="history"), 1)
    book.take(closed({0: UP, 1: FLAT}), 2)
    book.take(closed({4: UP}), 3)
    waiting = book.ripe(at(5))[MINUTES]
    assert waiting == {at(0): ours(UP), at(1): ours(FLAT), at(2): None, at(3): None, at(4): ours(UP)}
    assert list(book.ripe(at(2))[MINUTES]) == [at(0), at(1)]


def test_a_book_knows_corrections_and_ignores_older_ones() -> None:
    book = Book()
    for seq, event in enumerate([closed({0: FLAT}), closed({0: UP}, revision=2), closed({0: FLAT}, revision=1)], 1):
        book.take(event, seq)
    assert book.ripe(at(1)) == {MINUTES: {at(0): ours(UP, 2)}}


def test_a_long_gap_is_asked_for_from_its_end() -> None:
    book = Book()
    book.take(closed({0: UP}), 1)
    book.take(closed({10_000: UP}), 2)
    waiting = book.ripe(at(20_000))[MINUTES]
    assert sorted(waiting) == [at(0), *(at(minute) for minute in range(10_000 - MISSING_MAX, 10_001))]


def test_a_candle_the_exchange_never_gives_is_given_up() -> None:
    book = Book()
    book.take(closed({0: UP}), 1)
    assert [book.postpone(MINUTES, [at(0)]) for _ in range(LOOKS_MAX)] == [0] * (LOOKS_MAX - 1) + [1]
    assert not book.ripe(at(1))


steps = st.lists(st.tuples(st.integers(1, 4), st.sets(st.integers(0, 40), max_size=8)), min_size=1, max_size=15)


@given(steps, st.integers(0, 15))
def test_a_book_read_again_from_its_bookmark_knows_everything_that_waited(
    steps: list[tuple[int, set[int]]], bookmarked: int
) -> None:
    """Messages of one minute each with gaps between them; after each, some of what waits is settled."""
    book, messages, minute = Book(), list[tuple[CandlesClosed, int]](), 0
    mark: tuple[int, dict[Key, int]] = (0, {})
    for seq, (step, settled) in enumerate(steps, 1):
        minute += step
        messages.append((closed({minute: (minute, minute, minute, minute, 1.0)}), seq))
        book.take(*messages[-1])
        book.settle(MINUTES, [at(one) for one in settled])
        if seq <= bookmarked:
            mark = book.bookmark(seq)
    again = Book(mark[1])
    for event, seq in messages:
        if seq > mark[0]:
            again.take(event, seq)
    everything = at(1_000)
    assert book.ripe(everything).get(MINUTES, {}).items() <= again.ripe(everything).get(MINUTES, {}).items()


@dataclass
class FakeExchange:
    """The outermost wall: gives the minutes it has, or fails."""

    minutes: dict[int, Row]
    failures: list[Exception] = field(default_factory=list)
    asked: list[tuple[str, str, str, int, int]] = field(default_factory=list)

    async def fetch(self, exchange: str, symbol: str, timeframe: str, since_ms: int, limit: int) -> Candles:
        self.asked.append((exchange, symbol, timeframe, since_ms, limit))
        if self.failures:
            raise self.failures.pop(0)
        return given_by_exchange({minute: row for minute, row in self.minutes.items() if at(minute) >= since_ms})


class Running:
    """A reconciler at work; `until` waits for what it counts."""

    def __init__(self, bus: MemoryBus, exchange: FakeExchange, *, every_s: float = 0.001) -> None:
        self.registry = CollectorRegistry()
        self.now_ms = at(1_000)
        self.looks = 0
        self._stop = asyncio.Event()
        self._reconciler = Reconciler(
            bus,
            exchange.fetch,
            lambda: [BTC],
            ReconcileMetrics(self.registry),
            every_s=every_s,
            look_s=0.001,
            now_ms=self._tick,
        )

    def _tick(self) -> int:
        self.looks += 1
        self.now_ms += 1
        return self.now_ms

    async def __aenter__(self) -> Running:
        self._task = asyncio.create_task(self._reconciler.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.wait_for(self._task, 5.0)

    def counted(self, outcome: str) -> float:
        labels = {"exchange": "binance", "outcome": outcome}
        return self.registry.get_sample_value("tocsin_reconcile_candles_total", labels) or 0.0

    async def until(self, condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(5.0):
            while True:
                answer = condition()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await asyncio.sleep(0)


async def on_stream(bus: MemoryBus) -> list[CandlesClosed]:
    reader = bus.reader(CANDLES, after=0)
    messages = await reader.through((await bus.stream_state(CANDLES)).last_seq)
    return [event for message in messages if isinstance(event := message.event(), CandlesClosed)]


async def started(running: Running, bus: MemoryBus) -> None:
    """Until it has its place on the stream: what closes from then on is compared."""
    await running.until(lambda: _saved(bus))


async def _saved(bus: MemoryBus) -> bool:
    return bool(await bus.bucket(SNAPSHOTS).all())


async def test_a_wrong_candle_and_a_gap_are_corrected_on_the_stream(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange({0: UP, 1: UP, 2: UP, 3: UP})
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed({0: UP}), closed({1: FLAT}), closed({3: UP})])
        await running.until(lambda: running.counted("corrected") == running.counted("added") == 1)
    corrections = [event for event in await on_stream(memory_bus) if event.revision]
    assert Counter(event.open_ms[0] for event in corrections) == {at(1): 1, at(2): 1}
    assert all(event.revision == 1 and event.volume == [3.5] for event in corrections)
    assert running.counted("equal") == 2


async def test_candles_are_asked_for_together(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange(dict.fromkeys(range(60), UP))
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed(dict.fromkeys(range(60), UP))])
        await running.until(lambda: running.counted("equal") == 60)
    assert len(exchange.asked) == 1


async def test_a_candle_waits_for_the_turn_of_its_instrument(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange({0: UP, 1: UP})
    async with Running(memory_bus, exchange, every_s=900.0) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed({0: UP}), closed({1: UP})])
        looks = running.looks
        await running.until(lambda: running.looks > looks + 3)
        assert not exchange.asked
        running.now_ms += 900_000
        await running.until(lambda: running.counted("equal") == 2)
    assert len(exchange.asked) == 1


async def test_after_a_failure_the_candles_are_asked_for_again(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange({0: UP}, failures=[Retryable("network", retry_after_s=0.0)] * 10)
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed({0: FLAT})])
        await running.until(lambda: running.counted("corrected") == 1)


async def test_candles_the_exchange_refuses_are_given_up(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange({}, failures=[Rejected("unknown_symbol")])
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed({0: UP, 1: UP})])
        await running.until(lambda: running.counted("unavailable") == 2)
    assert len(exchange.asked) == 1


async def test_instruments_of_others_and_young_candles_are_left_alone(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange(dict.fromkeys(range(3), UP))
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        running.now_ms = at(3) + AGE_MS - 10_000
        await memory_bus.publish([closed({0: FLAT}, symbol="ETH/USDT"), closed({1: FLAT, 2: FLAT})])
        await running.until(lambda: running.counted("corrected") == 1)
    assert {symbol for _, symbol, *_ in exchange.asked} == {"BTC/USDT"}
    assert [event.open_ms for event in await on_stream(memory_bus) if event.revision] == [[at(1)]]


async def test_a_restart_goes_on_where_the_last_run_stopped_and_corrects_nothing_twice(memory_bus: MemoryBus) -> None:
    exchange = FakeExchange(dict.fromkeys(range(6), UP))
    async with Running(memory_bus, exchange) as running:
        await started(running, memory_bus)
        await memory_bus.publish([closed({0: FLAT})])
        await running.until(lambda: running.counted("corrected") == 1)
    await memory_bus.publish([closed({1: FLAT}), closed({4: UP})])
    async with Running(memory_bus, exchange) as running:
        await running.until(lambda: running.counted("equal") >= 1)
    assert (running.counted("corrected"), running.counted("added")) == (1, 2)
    corrections = [event for event in await on_stream(memory_bus) if event.revision]
    assert sorted(open_ms for event in corrections for open_ms in event.open_ms) == [at(0), at(1), at(2), at(3)]
