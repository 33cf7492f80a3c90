"""The service on a bus: any crash, any grouping of marks, and the streams are what one quiet run would have written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from paper_trader.config import PaperTraderSection
from paper_trader.metrics import Metrics
from paper_trader.trader import Trader
from tocsin_common.bus.consume import Incoming, Loop, consume_in_order
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Received, Stored
from tocsin_common.documents import Portfolio, encode
from tocsin_common.errors import TocsinError
from tocsin_common.events import ClockAdvanced, DeadLetter, EquityMarked, Event, OrderFilled
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import (
    CANDLES,
    CLOCK,
    DEAD,
    OUTCOMES,
    PAPER,
    PAPER_TRADER,
    PORTFOLIOS,
    SIGNALS,
    SNAPSHOTS,
    TRADES,
    Stream,
)

SEEDS = range(5)
LATENESS_MS = 1_000


class Crash(BaseException):
    """The process is gone: nothing that runs may catch it."""


class CrashingBus:
    """A memory bus that ends the process at a chosen effect: before it, after it, or half-way through a publish."""

    def __init__(self, inner: MemoryBus, rng: random.Random, effects: int) -> None:
        self._inner, self._rng, self._left = inner, rng, effects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        part = self._rng.randrange(len(events) + 1)
        await self._effect(lambda: self._inner.publish(events[:part]))
        stored = await self._inner.publish(events)
        assert not any(receipt.duplicate for receipt in stored[part:]), "published again what was stored"
        return stored

    def bucket(self, bucket: Any) -> Any:
        inner = self._inner.bucket(bucket)
        return _Effects(inner, "put", self._effect)

    def consumer(self, durable: Any) -> Any:
        return _Effects(self._inner.consumer(durable), "ack", self._effect)

    async def _effect(self, half: Callable[[], Awaitable[Any]] | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            if half is not None:
                await half()
            raise Crash


class _Effects:
    """Counts one method of an object as an effect."""

    def __init__(self, inner: Any, method: str, effect: Callable[[], Awaitable[None]]) -> None:
        self._inner, self._method, self._effect = inner, method, effect

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        async def counted(*args: Any) -> Any:
            await self._effect()
            return await found(*args)

        return counted


async def run_service(bus: Any, *, batch: int = 16, interval_s: float = 600) -> None:
    """One life of the service: until every mark is handled."""
    stop = asyncio.Event()
    section = PaperTraderSection(snapshot_interval_s=interval_s, lateness_ms=LATENESS_MS)
    registry = CollectorRegistry()
    trader = Trader(bus, section, Metrics(registry), stop)
    after = await trader.resume()
    consumer = bus.consumer(PAPER_TRADER)
    await consumer.reset(after)
    last = await bus.last(CLOCK, "clock.signals")
    if last is None or last.seq <= after:
        stop.set()

    async def handle(incoming: Sequence[Incoming]) -> Sequence[Event]:
        events = await trader.handle(incoming)
        if last is None or incoming[-1].message.seq >= last.seq:
            stop.set()
        return events

    await consume_in_order(
        Loop(bus, consumer, "paper-trader", stop, BusMetrics(registry).loop("paper-trader")), handle, batch=batch
    )
    await trader.save()


async def give(
    bus: Bus, scene: Any, rng: random.Random, until: float = 1.0, ahead: int = 0
) -> Callable[[], Awaitable[None]]:
    """Publish the first part of a scene as ingest and signal-engine would; returns how to publish the rest.

    A few messages come late; signal-engine answers only the last of several marks, as it does under load. One of its
    replicas is so many marks `ahead`, and stores its signals while the others hold the mark back.
    """
    marks = sorted(rng.randrange(scene.end_ms - int(scene.hours * 3_600_000), scene.end_ms) for _ in range(60))
    pieces = scene.slices(marks)
    held: list[Event] = []
    waiting: list[Event] = [signal for piece in pieces[:ahead] for signal in piece.signals]

    async def publish(part: Sequence[Any]) -> None:
        for piece in part:
            events = [arrived.event for arrived in piece.market]
            events, held[:] = [*held, *events], []
            if events and rng.random() < 0.2:
                held.append(events.pop(rng.randrange(len(events))))
            await bus.publish(events)
            waiting.extend(signal for later in pieces[pieces.index(piece) + ahead :][:1] for signal in later.signals)
            seqs = {s.name: (await bus.stream_state(s)).last_seq for s in (TRADES, CANDLES)}
            clock = {"source": "test", "time_ms": piece.until_ms, "trades_seq": seqs["TRADES"]}
            clock |= {"candles_seq": seqs["CANDLES"], "ended": piece is pieces[-1]}
            await bus.publish([ClockAdvanced(stage="market", **clock)])
            if rng.random() < 0.7 or piece is pieces[-1]:
                await bus.publish(waiting)
                waiting.clear()
                signals_seq = (await bus.stream_state(SIGNALS)).last_seq
                await bus.publish([ClockAdvanced(stage="signals", signals_seq=signals_seq, **clock)])

    count = int(len(pieces) * until)
    await publish(pieces[:count])

    async def rest() -> None:
        await publish(pieces[count:])

    return rest


async def put_portfolios(bus: Bus, portfolios: Sequence[Portfolio]) -> None:
    for portfolio in portfolios:
        await bus.bucket(PORTFOLIOS).put(portfolio.portfolio_id, encode(portfolio))


async def stored(bus: Bus, stream: Stream) -> list[Received]:
    last_seq = (await bus.stream_state(stream)).last_seq
    return await bus.reader(stream, after=0).through(last_seq)


async def written(bus: Bus) -> dict[str, list[tuple[str, bytes]]]:
    """What the service wrote: ids and contents, stream by stream."""
    return {s.name: [(m.message_id, m.data) for m in await stored(bus, s)] for s in (PAPER, OUTCOMES)}


async def crash_until_done(bus: MemoryBus, rng: random.Random) -> int:
    """Start the service again and again, letting it crash at random effects, until it comes through."""
    crashes = 0
    while True:
        effects = rng.randrange(1, 12) if crashes < 25 else 10**9
        try:
            interval_s = rng.choice((0.0, 600))
            await run_service(CrashingBus(bus, rng, effects), batch=rng.randrange(1, 9), interval_s=interval_s)
        except Crash:
            crashes += 1
        else:
            return crashes


@pytest.mark.parametrize("seed", SEEDS)
async def test_writes_what_a_quiet_run_writes_whatever_crashes(kit: Any, seed: int) -> None:
    scene = kit.scene(seed)
    quiet, troubled = MemoryBus(), MemoryBus()
    for bus in (quiet, troubled):
        await put_portfolios(bus, scene.portfolios)
        await give(bus, scene, random.Random(seed))
    await run_service(quiet)
    crashes = await crash_until_done(troubled, random.Random(seed))
    assert crashes > 3
    assert await written(troubled) == await written(quiet)
    assert len((await written(quiet))["OUTCOMES"]) > 5


@pytest.mark.parametrize("seed", SEEDS)
async def test_signals_stored_before_the_mark_that_covers_their_candles_change_nothing(kit: Any, seed: int) -> None:
    scene, written_by = kit.scene(seed), []
    for ahead in (0, 1, 5):
        bus = MemoryBus()
        await put_portfolios(bus, scene.portfolios)
        await give(bus, scene, random.Random(seed), ahead=ahead)
        await run_service(bus)
        written_by.append(await written(bus))
    assert written_by[0] == written_by[1] == written_by[2]
    assert len(written_by[0]["OUTCOMES"]) > 5


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_changed_portfolio_counts_from_where_it_was_seen_whatever_crashes(kit: Any, seed: int) -> None:
    scene = kit.scene(seed)
    changed = [
        Portfolio(portfolio_id="steady", risk_fraction=Decimal("0.05"), currency="EUR"),
        Portfolio(portfolio_id="newcomer", latency_ms=0),
        Portfolio(portfolio_id="bold", enabled=False),
    ]
    quiet, troubled = MemoryBus(), MemoryBus()
    for bus in (quiet, troubled):
        rng = random.Random(seed)
        await put_portfolios(bus, scene.portfolios)
        rest = await give(bus, scene, rng, until=0.5)
        go = run_service(quiet) if bus is quiet else crash_until_done(troubled, random.Random(seed))
        await go
        await put_portfolios(bus, changed)
        await bus.bucket(PORTFOLIOS).delete("picky")
        await rest()
        go = run_service(quiet) if bus is quiet else crash_until_done(troubled, random.Random(seed))
        await go
    assert await written(troubled) == await written(quiet)
    events = [message.event() for message in await stored(quiet, PAPER)]
    newcomer = [event for event in events if getattr(event, "portfolio", "") == "newcomer"]
    assert [event.n for event in newcomer] == list(range(1, len(newcomer) + 1))
    assert newcomer


async def test_writes_the_same_on_a_real_server(kit: Any, jetstream_bus: Bus, memory_bus: MemoryBus) -> None:
    scene = kit.scene(3)
    for bus in (memory_bus, jetstream_bus):
        await put_portfolios(bus, scene.portfolios)
        rest = await give(bus, scene, random.Random(3), until=0.5)
        await run_service(bus, batch=5, interval_s=0.0)
        await rest()
        await run_service(bus, batch=3)
    assert await written(jetstream_bus) == await written(memory_bus)


async def test_every_fill_moves_cash_exactly_and_every_mark_adds_up(kit: Any, memory_bus: MemoryBus) -> None:
    scene = kit.scene(5)
    await put_portfolios(memory_bus, scene.portfolios)
    await give(memory_bus, scene, random.Random(5))
    await run_service(memory_bus)
    cash = {portfolio.portfolio_id: portfolio.cash for portfolio in scene.portfolios}
    fills = 0
    for message in await stored(memory_bus, PAPER):
        event = message.event()
        if isinstance(event, OrderFilled):
            value = event.amount * event.price
            cash[event.portfolio] += -value - event.fee if event.side == "buy" else value - event.fee
            assert cash[event.portfolio] == event.cash_after
            fills += 1
        if isinstance(event, EquityMarked):
            assert all(held.value == held.amount * held.mark_price for held in event.holdings)
            assert event.equity == event.cash + sum(held.value for held in event.holdings)
            assert event.cash == cash[event.portfolio]
    assert fills > 20


async def test_a_malformed_neighbour_gets_a_dead_letter_and_harms_nobody(kit: Any) -> None:
    scene = kit.scene(2)
    clean, dirty = MemoryBus(), MemoryBus()
    nonsense = kit.trades(("kraken", "AAA/USDT"), [(scene.end_ms, -1.0)])
    for bus in (clean, dirty):
        await put_portfolios(bus, scene.portfolios)
        if bus is dirty:
            await bus.publish([nonsense])
        await give(bus, scene, random.Random(2))
        await run_service(bus)
    letters = [message.event() for message in await stored(dirty, DEAD)]
    assert [(letter.service, letter.stream, letter.reason) for letter in letters if isinstance(letter, DeadLetter)] == [
        ("paper-trader", "TRADES", "malformed")
    ]
    assert await written(dirty) == await written(clean)


async def test_refuses_a_snapshot_that_belongs_to_other_streams(kit: Any) -> None:
    scene = kit.scene(1)
    bus, other = MemoryBus(), MemoryBus()
    await put_portfolios(bus, scene.portfolios)
    await give(bus, scene, random.Random(1))
    await run_service(bus)
    for key, entry in (await bus.bucket(SNAPSHOTS).all()).items():
        assert entry.value is not None
        await other.bucket(SNAPSHOTS).put(key, entry.value)
    with pytest.raises(TocsinError, match="other streams"):
        await run_service(other)


async def test_says_what_to_do_about_a_damaged_snapshot(memory_bus: MemoryBus) -> None:
    await memory_bus.bucket(SNAPSHOTS).put("paper-trader", b'{"turn": 0, "chunks": 2, "size": 99}')
    with pytest.raises(TocsinError, match="Delete the key"):
        await run_service(memory_bus)


async def test_a_portfolio_document_out_of_range_is_refused_and_the_old_one_stays(
    kit: Any, memory_bus: MemoryBus
) -> None:
    scene = kit.scene(4)
    await put_portfolios(memory_bus, scene.portfolios)
    await put_portfolios(memory_bus, [Portfolio(portfolio_id="reckless", risk_fraction=Decimal(2))])
    await memory_bus.bucket(PORTFOLIOS).put("broken", b"{")
    await give(memory_bus, scene, random.Random(4))
    await run_service(memory_bus)
    names = {message.subject.split(".")[1] for message in await stored(memory_bus, PAPER)}
    assert names == {"steady", "bold", "picky", "coins"}


async def test_a_portfolio_put_while_it_runs_opens_with_the_next_prices(kit: Any, memory_bus: MemoryBus) -> None:
    scene = kit.scene(6)
    await put_portfolios(memory_bus, scene.portfolios)
    await give(memory_bus, scene, random.Random(6))
    trader = Trader(memory_bus, PaperTraderSection(), Metrics(CollectorRegistry()), asyncio.Event())
    await trader.resume()
    consumer = memory_bus.consumer(PAPER_TRADER)
    following = asyncio.create_task(trader.portfolios.follow())
    await trader.handle([Incoming(m.event(), m) for m in await consumer.fetch(10, 1.0)])
    await put_portfolios(memory_bus, [Portfolio(portfolio_id="newcomer")])
    async with asyncio.timeout(5):
        while not trader.portfolios.changes(trader.simulation.state):  # noqa: ASYNC110  # it only has to be its turn
            await asyncio.sleep(0)
    following.cancel()
    await trader.handle([Incoming(m.event(), m) for m in await consumer.fetch(10, 1.0)])
    opened = await memory_bus.last(PAPER, "paper.newcomer.opened")
    assert opened is not None


async def test_a_broken_simulation_stops_the_service_and_acknowledges_nothing(kit: Any, memory_bus: MemoryBus) -> None:
    scene = kit.scene(7)
    await put_portfolios(memory_bus, scene.portfolios)
    await give(memory_bus, scene, random.Random(7))
    stop, registry = asyncio.Event(), CollectorRegistry()
    trader = Trader(memory_bus, PaperTraderSection(snapshot_interval_s=0), Metrics(registry), stop)
    await trader.resume()
    trader.simulation.state.lives["nowhere"] = {"": None}  # type: ignore[dict-item]  # what only a bug could do
    consumer = memory_bus.consumer(PAPER_TRADER)
    loop = Loop(memory_bus, consumer, "paper-trader", stop, BusMetrics(registry).loop("paper-trader"))
    async with asyncio.timeout(5):
        await consume_in_order(loop, trader.handle)
    assert isinstance(trader.failure, AttributeError)
    assert (await memory_bus.durable_state(PAPER_TRADER)).ack_pending > 0
    assert (await memory_bus.stream_state(PAPER)).messages == 0
