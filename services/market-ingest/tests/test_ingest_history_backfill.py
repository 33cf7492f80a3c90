"""Candles of before our own: the seam without hole and double, what is stored is not fetched again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from market_ingest.columns import CandleRows, Candles, Instrument, uncounted
from market_ingest.history import backfill as module
from market_ingest.history.backfill import Backfill
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import SETTLED_MS, Key
from market_ingest.history.shelf import RETENTION_MS, Shelf, missing
from market_ingest.ingest import candle_events
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import Rejected, Retryable, TocsinError
from tocsin_common.events import CandlesClosed, TradesReceived
from tocsin_common.streams import CANDLES
from tocsin_trading.timeframes import TIMEFRAME_MS

NOW_MS = 1_700_000_000_000 + 37_123
MINUTE_MS = 60_000
BTC, ETH = Instrument("binance", "BTC/USDT"), Instrument("okx", "ETH/USDT")
TIMEFRAMES = ("1m", "5m", "1h", "1d")
WANTED = 150


class World:
    """A clock, an exchange that has traded for ever, and the streams."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.now_ms = NOW_MS
        self.asked: list[tuple[str, str, int]] = []
        self.failures: dict[str, Callable[[], TocsinError | None]] = {}
        self.registry = CollectorRegistry()
        self.metrics = HistoryMetrics(self.registry)

    async def fetch(self, exchange: str, symbol: str, timeframe: str, since_ms: int, limit: int) -> Candles:
        """100 candles at most, the open one among them."""
        self.asked.append((symbol, timeframe, since_ms))
        await asyncio.sleep(0)
        if exchange in self.failures and (error := self.failures[exchange]()):
            raise error
        length_ms = TIMEFRAME_MS[timeframe]
        opens = range(-(-since_ms // length_ms) * length_ms, self.now_ms + 1, length_ms)[: min(limit, 100)]
        return candles_at(list(opens))

    async def trade(self, instrument: Instrument, ts_ms: int) -> None:
        """A first live trade is stored; its candles close later."""
        columns = {"ts_ms": [ts_ms], "price": [1.0], "amount": [1.0], "side": "b", "trade_id": ["1"]}
        names = {"exchange": instrument.exchange, "symbol": instrument.symbol, "source": "live"}
        await self.bus.publish([TradesReceived(**names, cursor=0, received_ms=ts_ms, **columns)])

    async def close(self, instrument: Instrument, from_ms: int, to_ms: int) -> None:
        """What the candle builder publishes for trades of `from_ms <= t < to_ms`."""
        for timeframe in TIMEFRAMES:
            key = Key(instrument, timeframe)
            opens = list(range(key.floor(from_ms), key.floor(to_ms), key.length_ms))
            if opens:
                candles = candles_at(opens)
                await self.bus.publish(candle_events(CandleRows(instrument, timeframe, "trades", candles), candles))

    async def stored(self, instrument: Instrument, timeframe: str, origin: str) -> list[int]:
        state = await self.bus.stream_state(CANDLES)
        events = [message.event() for message in await self.bus.reader(CANDLES, after=0).through(state.last_seq)]
        return [
            open_ms
            for event in events
            if isinstance(event, CandlesClosed)
            and (event.symbol, event.timeframe, event.origin) == (instrument.symbol, timeframe, origin)
            for open_ms in event.open_ms
        ]

    async def both(self, instrument: Instrument, timeframe: str) -> tuple[list[int], list[int]]:
        """History, and candles of our own."""
        return await self.stored(instrument, timeframe, "history"), await self.stored(instrument, timeframe, "trades")

    def before(self, timeframe: str, seam_ms: int) -> list[int]:
        """Open times of all history there should be: with ours from the seam on, as many candles as wanted."""
        length_ms = TIMEFRAME_MS[timeframe]
        depth = min(WANTED, RETENTION_MS // length_ms)
        return list(range((self.now_ms // length_ms - depth) * length_ms, seam_ms // length_ms * length_ms, length_ms))

    @asynccontextmanager
    async def running(self, *instruments: Instrument, candles: int = WANTED) -> AsyncIterator[set[Instrument]]:
        """A process: everything in its memory is gone when it ends. Gives what is live, to be changed."""
        stop, live = asyncio.Event(), set(instruments)
        backfill = Backfill(
            self.bus,
            self.fetch,
            self.metrics,
            instruments=lambda: live,
            candles=candles,
            timeframes=TIMEFRAMES,
            now_ms=lambda: self.now_ms,
        )
        task = asyncio.create_task(backfill.run(stop))
        yield live
        stop.set()
        await task

    def pending(self, exchange: str = "binance") -> float | None:
        return self.registry.get_sample_value("tocsin_history_pending", {"exchange": exchange})

    async def until_complete(self, exchange: str = "binance") -> None:
        await until(lambda: self.pending(exchange) == 0)


def candles_at(opens: Sequence[int]) -> Candles:
    open_ms = np.array(opens, np.int64)
    price = 100.0 + open_ms / MINUTE_MS % 7
    return Candles(open_ms, price, price + 1, price - 1, price, np.ones(len(opens)), uncounted(len(opens)))


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.002)


@pytest.fixture
def world(memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "LOOK_S", 0.005)
    return World(memory_bus)


async def test_history_ends_exactly_where_our_first_candles_begin(world: World) -> None:
    async with world.running(BTC):
        first_ms = world.now_ms + 2_000
        await world.trade(BTC, first_ms)
        world.now_ms += 3 * MINUTE_MS
        await world.close(BTC, first_ms, world.now_ms)
        await world.until_complete()
    for timeframe in TIMEFRAMES:
        history, own = await world.both(BTC, timeframe)
        assert history[-1] + TIMEFRAME_MS[timeframe] == first_ms // TIMEFRAME_MS[timeframe] * TIMEFRAME_MS[timeframe]
        together = history + own
        assert together == list(range(together[0], together[-1] + 1, TIMEFRAME_MS[timeframe]))
    assert len(await world.stored(BTC, "1d", "history")) == 60  # what CANDLES keeps of ours


async def test_history_goes_on_until_the_first_trade_when_it_comes_late(world: World) -> None:
    async with world.running(BTC):
        await until(lambda: world.pending() == 1)
        world.now_ms += module.FIRST_TRADE_MS + 1
        await until(lambda: len(world.asked) >= len(TIMEFRAMES))
        world.now_ms += 7 * MINUTE_MS
        first_ms = world.now_ms
        await world.trade(BTC, first_ms)
        world.now_ms += MINUTE_MS
        await world.until_complete()
    history = await world.stored(BTC, "1m", "history")
    assert history[-1] == first_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
    assert history == list(range(history[0], history[-1] + 1, MINUTE_MS))
    assert len(history) >= WANTED


async def test_nothing_is_fetched_while_an_exchange_may_still_greet_with_older_trades(world: World) -> None:
    async with world.running(BTC):
        await until(lambda: world.pending() == 1)
        world.now_ms += module.FIRST_TRADE_MS - 1
        older_ms = NOW_MS - 20 * MINUTE_MS
        assert world.asked == []
        await world.trade(BTC, older_ms)
        await world.until_complete()
    assert (await world.stored(BTC, "1m", "history"))[-1] == older_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS


async def test_the_open_candle_of_the_exchange_is_never_taken(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    world.now_ms = NOW_MS // MINUTE_MS * MINUTE_MS + SETTLED_MS - 1
    async with world.running(BTC):
        await until(lambda: len(world.asked) >= len(TIMEFRAMES) and world.pending() == 1)
        seam_ms = NOW_MS // MINUTE_MS * MINUTE_MS
        assert (await world.stored(BTC, "1m", "history"))[-1] == seam_ms - 2 * MINUTE_MS
        world.now_ms += 1
        await world.until_complete()
    assert (await world.stored(BTC, "1m", "history"))[-1] == seam_ms - MINUTE_MS


async def test_a_restart_half_way_fetches_only_what_is_missing(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    world.now_ms += MINUTE_MS
    answers = iter(range(3))
    world.failures["binance"] = lambda: None if next(answers, None) is not None else Retryable("network")
    async with world.running(BTC):
        await until(lambda: len(world.asked) >= 4)
    stored = {timeframe: await world.stored(BTC, timeframe, "history") for timeframe in TIMEFRAMES}
    assert any(stored.values())
    world.failures.clear()
    world.asked.clear()
    async with world.running(BTC):
        await world.until_complete()
    for timeframe in TIMEFRAMES:
        assert await world.stored(BTC, timeframe, "history") == world.before(timeframe, NOW_MS)
        again = [since_ms for _, name, since_ms in world.asked if name == timeframe]
        assert not set(again) & set(stored[timeframe])


async def test_what_is_complete_is_not_asked_for_again(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    world.now_ms += MINUTE_MS
    async with world.running(BTC):
        await world.until_complete()
    await world.close(BTC, NOW_MS, NOW_MS + 3 * MINUTE_MS)
    world.asked.clear()
    world.now_ms += 3 * 3_600_000
    async with world.running(BTC):
        await until(lambda: world.pending() == 0)
    assert world.asked == []


async def test_where_we_have_enough_candles_of_our_own_nothing_is_fetched(world: World) -> None:
    await world.close(BTC, NOW_MS - (WANTED + 5) * 86_400_000, NOW_MS)
    async with world.running(BTC):
        await until(lambda: world.pending() == 0)
    assert world.asked == []


async def test_history_joins_candles_of_our_own_that_are_too_few(world: World) -> None:
    first_ms = NOW_MS - 40 * MINUTE_MS
    await world.close(BTC, first_ms, NOW_MS)
    async with world.running(BTC):
        await world.trade(BTC, NOW_MS)
        await world.until_complete()
    history, own = await world.both(BTC, "1m")
    assert history + own == world.before("1m", NOW_MS)
    assert history[-1] < first_ms <= own[0] + MINUTE_MS


async def test_none_wanted_none_fetched(world: World) -> None:
    async with world.running(BTC, candles=0):
        await asyncio.sleep(0)
    assert world.asked == []


async def test_an_exchange_that_is_away_keeps_no_other_waiting(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    await world.trade(ETH, NOW_MS)
    world.now_ms += MINUTE_MS
    world.failures["binance"] = lambda: Retryable("network", retry_after_s=600)
    async with world.running(BTC, ETH):
        await world.until_complete("okx")
        assert await world.stored(ETH, "1m", "history") == world.before("1m", NOW_MS)
    assert await world.stored(BTC, "1m", "history") == []
    paused = {"exchange": "binance", "reason": "network"}
    assert world.registry.get_sample_value("tocsin_history_paused_seconds_total", paused) == 600


async def test_a_timeframe_the_exchange_does_not_have_is_said_and_the_others_come(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    world.now_ms += MINUTE_MS
    world.failures["binance"] = lambda: Rejected("no_such_timeframe") if world.asked[-1][1] == "1h" else None
    async with world.running(BTC):
        await world.until_complete()
    assert await world.stored(BTC, "1h", "history") == []
    assert await world.stored(BTC, "1d", "history") == world.before("1d", NOW_MS)
    refused = {"exchange": "binance", "reason": "no_such_timeframe"}
    assert world.registry.get_sample_value("tocsin_history_given_up_total", refused) == 1


async def test_an_instrument_taken_up_later_gets_its_history_too(world: World) -> None:
    await world.trade(BTC, NOW_MS)
    await world.trade(ETH, NOW_MS)
    world.now_ms += MINUTE_MS
    async with world.running(BTC) as live:
        await world.until_complete()
        live.add(ETH)
        await world.until_complete("okx")
    assert await world.stored(ETH, "5m", "history") == world.before("5m", NOW_MS)


async def test_an_instrument_let_go_is_waited_for_no_longer(world: World) -> None:
    async with world.running(BTC) as live:
        await until(lambda: world.pending() == 1)
        live.clear()
        await until(lambda: world.pending() == 0)


@settings(max_examples=300)
@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    taken_up=st.integers(0, 3 * 86_400_000),
    quiet=st.integers(0, 3 * 86_400_000),
    delay=st.integers(0, 3_600_000),
    looks=st.lists(st.integers(0, 86_400_000), max_size=6),
    candles=st.integers(1, 500),
)
def test_between_history_and_ours_is_neither_hole_nor_double(
    timeframe: str, taken_up: int, quiet: int, delay: int, looks: list[int], candles: int
) -> None:
    """However often and whenever it is looked, restarts included, however long nobody trades, and however late the
    first trade is stored."""
    key, shelf = Key(BTC, timeframe), Shelf()
    taken_up_ms = NOW_MS + taken_up
    first_ms = taken_up_ms + quiet
    fetched: list[int] = []
    last = False
    last_ms = first_ms + delay + key.length_ms + SETTLED_MS
    for now_ms in [*sorted(taken_up_ms + look for look in looks), last_ms]:
        known = first_ms if now_ms >= first_ms + delay else None
        gap = missing(key, shelf, candles=candles, first_trade_ms=known, taken_up_ms=taken_up_ms, now_ms=now_ms)
        assert gap.to_ms <= now_ms - SETTLED_MS or gap.from_ms == gap.to_ms
        fetched += range(gap.from_ms, gap.to_ms, key.length_ms)
        if gap.to_ms > gap.from_ms:
            shelf.history_ms = gap.to_ms
        last = gap.last
    own_ms = key.floor(first_ms)
    assert last
    assert not fetched or [*fetched, own_ms] == list(range(fetched[0], own_ms + 1, key.length_ms))
    assert fetched or own_ms <= key.floor(max(last_ms, now_ms)) - candles * key.length_ms
