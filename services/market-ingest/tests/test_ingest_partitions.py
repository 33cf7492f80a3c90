"""Replicas share the partitions, take each other's over, and never store at the same time."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from market_ingest.partitions.market import MARKET_INGEST
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.bus.reading import read_page
from tocsin_common.errors import Unreachable
from tocsin_common.events import FeedChanged, TradesReceived
from tocsin_common.partitions.ownership import Ownership
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import FEEDS, LEASES, TRADES
from tocsin_common.subjects import partition_of

SYMBOLS = [f"S{n}/USDT" for n in range(200)]
SYMBOL = SYMBOLS[0]
PARTITION = partition_of("binance", SYMBOL)


def trade(n: int, writer: str = "test", symbol: str = SYMBOL) -> TradesReceived:
    return TradesReceived(
        exchange="binance",
        symbol=symbol,
        source=writer,
        cursor=0,
        received_ms=n,
        ts_ms=[n],
        price=[1.0],
        amount=[1.0],
        side="b",
        trade_id=[str(n)],
    )


class Replica:
    """One replica: its ownership, running until `leave` (in order) or `vanish` (its connection is cut)."""

    def __init__(self, bus: Any, host: str, allowed: frozenset[int] = ALL, *, ttl_s: int = 1) -> None:
        self.bus = Cuttable(bus)
        self.stop = asyncio.Event()
        self.changes = 0
        options: Any = {"ttl_s": ttl_s, "look_s": 0.05, "host": host}
        self.ownership = Ownership(self.bus, MARKET_INGEST, allowed, self._changed, **options)  # type: ignore[arg-type]
        self._task = asyncio.create_task(self.ownership.run(self.stop))

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self.ownership.tokens)

    async def leave(self) -> None:
        self.stop.set()
        async with asyncio.timeout(10):
            await self._task

    def _changed(self) -> None:
        self.changes += 1


class Cuttable:
    """A bus that can be cut off from its server."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        if self.cut and name in ("publish", "raise_fence"):
            return self._fail
        return getattr(self._bus, name)

    def bucket(self, bucket: Any) -> Any:
        return _CuttableBucket(self, self._bus.bucket(bucket))

    async def _fail(self, *_args: Any, **_options: Any) -> Any:
        raise Unreachable("cut off")


class _CuttableBucket:
    def __init__(self, bus: Cuttable, bucket: Any) -> None:
        self._bus, self._bucket = bus, bucket

    def __getattr__(self, name: str) -> Any:
        return self._bus._fail if self._bus.cut else getattr(self._bucket, name)


@asynccontextmanager
async def replicas(bus: Any, *hosts: str, **options: Any) -> AsyncIterator[list[Replica]]:
    started = [Replica(bus, host, **options) for host in hosts]
    try:
        yield started
    finally:
        for replica in started:
            await replica.leave()


async def until(condition: Callable[[], Awaitable[bool] | bool], wait_s: float = 10.0) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.005)


def shared_by(*sharing: Replica) -> bool:
    """Whether these hold every partition once, evenly."""
    owned = [replica.owned for replica in sharing]
    sizes = [len(one) for one in owned]
    return sum(sizes) == 64 and frozenset().union(*owned) == ALL and max(sizes) - min(sizes) <= 1


@pytest.fixture(params=["memory_bus", "jetstream_bus"])
def bus(request: pytest.FixtureRequest) -> Bus:
    found: Bus = request.getfixturevalue(request.param)
    return found


async def test_one_replica_holds_everything_and_a_second_one_takes_half(bus: Bus) -> None:
    async with replicas(bus, "one") as (one,):
        await until(lambda: shared_by(one))
        async with replicas(bus, "two") as (two,):
            await until(lambda: shared_by(one, two))
            kept = one.owned
        await until(lambda: shared_by(one))
        assert kept <= one.owned


async def test_garbage_among_the_leases_stops_nobody(memory_bus: MemoryBus) -> None:
    bucket = memory_bus.bucket(LEASES)
    cut_off, foreign = b'{"name":"x"}', b'{"name":"x","partitions":"all of them","host":"h","pid":1}'
    for number, garbage in enumerate([b"\xff", b"{", b"[" * 5_000, cut_off, foreign]):
        await bucket.put(f"{MARKET_INGEST.members}{number}", garbage)
        await bucket.put(f"{MARKET_INGEST.partitions}{number}x", garbage)
    async with replicas(memory_bus, "one", "two") as (one, two):
        await until(lambda: shared_by(one, two))
        await bucket.put(f"{MARKET_INGEST.members}late", cut_off)
        async with replicas(memory_bus, "three") as (three,):
            await until(lambda: shared_by(one, two, three))


async def test_a_replica_that_cannot_reach_the_server_stops_before_another_takes_over(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", "two") as (one, two):
        await until(lambda: shared_by(one, two))
        one.bus.cut = True
        started_s = time.monotonic()

        def taken_over() -> bool:
            assert not one.owned & two.owned, "two owners at once"
            return shared_by(two)

        await until(taken_over)
        assert time.monotonic() - started_s < 5
        one.bus.cut = False
        await until(lambda: shared_by(one, two))


async def test_of_three_replicas_two_may_go_at_once(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", "two", "three") as (one, two, three):
        await until(lambda: shared_by(one, two, three))
        one.bus.cut = two.bus.cut = True
        await until(lambda: shared_by(three))
        changes = three.changes
        one.bus.cut = False
        await until(lambda: shared_by(one, three))
        assert three.changes > changes


async def test_a_replica_holds_only_what_it_may(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", allowed=frozenset(range(32))) as (one,):
        await until(lambda: one.owned == frozenset(range(32)))
        async with replicas(memory_bus, "two", allowed=frozenset(range(16, 64))) as (two,):
            await until(lambda: shared_by(one, two))
            assert one.owned <= frozenset(range(32))


async def test_the_next_process_on_a_machine_does_not_wait_for_the_leases_of_its_dead_predecessor(bus: Bus) -> None:
    former = Replica(bus, "same", ttl_s=6)
    await until(lambda: shared_by(former))
    former.bus.cut = True
    started_s = time.monotonic()
    async with replicas(bus, "same", ttl_s=6) as (one,):
        await until(lambda: shared_by(one))
        assert time.monotonic() - started_s < 3
    await former.leave()


async def test_who_keeps_the_event_loop_busy_keeps_its_partitions_by_asking_now_and_then(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", ttl_s=3) as (one,):
        await until(lambda: shared_by(one))
        ends_s = time.monotonic() + 4
        while time.monotonic() < ends_s:
            time.sleep(0.1)  # noqa: ASYNC251
            await one.ownership.keep_up()
            assert shared_by(one)


async def test_leases_are_renewed_in_parts(memory_bus: MemoryBus) -> None:
    writes_s: list[float] = []

    async def watch() -> None:
        async for _ in memory_bus.bucket(LEASES).watch():
            writes_s.append(time.monotonic())  # noqa: PERF401 - it never ends

    async with replicas(memory_bus, "one", ttl_s=3) as (one,):
        await until(lambda: shared_by(one))
        watching = asyncio.create_task(watch())
        began_s = time.monotonic() + 1.5  # what was taken together is renewed together once
        await until(lambda: len([at_s for at_s in writes_s if at_s > began_s]) > 2 * 64)
        watching.cancel()
        later = [at_s for at_s in writes_s if at_s > began_s]
        within = [sum(at_s <= other_s < at_s + 0.1 for other_s in later) for at_s in later]
        assert max(within) < 64
        assert shared_by(one)


async def test_only_what_is_ours_is_stored_and_what_needs_no_owner_always_is(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", "two") as (one, two):
        await until(lambda: shared_by(one, two))
        events = [trade(n, symbol=symbol) for n, symbol in enumerate(SYMBOLS)]
        news = FeedChanged(exchange="binance", symbol=None, state="connected", ts_ms=1)
        first = await one.ownership.store([*events, news])
        second = await two.ownership.store([*events, news])
        trades = [event for event, _ in (*first, *second) if isinstance(event, TradesReceived)]
        assert sorted(event.received_ms for event in trades) == list(range(len(SYMBOLS)))
        assert (await memory_bus.stream_state(FEEDS)).messages == 1


async def test_a_fence_that_was_lost_is_raised_again_by_its_owner(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", ttl_s=6) as (one,):
        await until(lambda: shared_by(one))
        memory_bus.purge(TRADES, before=1_000)
        assert len(await one.ownership.store([trade(1)])) == 1
        assert one.ownership.owns(PARTITION)


async def test_refused_by_a_newer_fence_it_gives_the_partition_up(memory_bus: MemoryBus) -> None:
    async with replicas(memory_bus, "one", ttl_s=6) as (one,):
        await until(lambda: shared_by(one))
        await memory_bus.raise_fence(TRADES, PARTITION, 1_000_000)
        other = next(symbol for symbol in SYMBOLS if partition_of("binance", symbol) != PARTITION)
        stored = await one.ownership.store([trade(1), trade(2, symbol=other)])
        assert [event.symbol for event, _ in stored if isinstance(event, TradesReceived)] == [other]
        assert not one.ownership.owns(PARTITION)


WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from market_ingest.partitions.market import MARKET_INGEST
    from tocsin_common.bus.jetstream import JetStreamBus
    from tocsin_common.bus.leases import Lease
    from tocsin_common.config import NatsSection
    from tocsin_common.partitions.ownership import Ownership
    from tocsin_common.partitions.sharing import ALL
    sys.path.insert(0, sys.argv[3])
    from test_ingest_partitions import trade

    async def write(name, url):
        Lease.held = True  # it never notices that its time is over: as if paused right after it looked
        bus = await JetStreamBus.connect(NatsSection(url=url), name=name)
        ownership = Ownership(bus, MARKET_INGEST, ALL, lambda: None, ttl_s=2, look_s=0.1, host=name)
        running = asyncio.create_task(ownership.run(asyncio.Event()))
        n = 0
        while True:
            n += 1
            await ownership.store([trade(n, name)])
            await asyncio.sleep(0.001)

    asyncio.run(write(sys.argv[1], sys.argv[2]))
    """
)


@asynccontextmanager
async def writer(name: str, url: str) -> AsyncIterator[Process]:
    """A process that stores trades of one market whenever it may."""
    arguments = [name, url, str(Path(__file__).parent)]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def trades_by(bus: Bus) -> list[str]:
    """Who stored each trade on the stream."""
    messages = await bus.reader(TRADES, after=0).through((await bus.stream_state(TRADES)).last_seq)
    return [event.source for message in messages if isinstance(event := message.event(), TradesReceived)]


async def two_share(bus: Bus) -> bool:
    """Whether two replicas hold 32 partitions each."""
    entries = await bus.bucket(LEASES).all()
    held = Counter(entry.value for key, entry in entries.items() if key.startswith("market-ingest-partition-"))
    return sorted(held.values()) == [32, 32]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["paused", "killed"])
async def test_a_partition_has_one_writer_after_the_other(
    nats_url: str, jetstream_bus: JetStreamBus, how: signal.Signals
) -> None:
    """The paused one wakes up after the takeover and writes on: the server alone stands in its way."""
    async with writer("one", nats_url) as one, writer("two", nats_url) as two:
        await until(lambda: two_share(jetstream_bus), 60)
        settled = len(await trades_by(jetstream_bus))

        async def more_than(trades: int) -> bool:
            return len(await trades_by(jetstream_bus)) > trades

        await until(lambda: more_than(settled + 50))
        first = (await trades_by(jetstream_bus))[-1]
        started_s = time.monotonic()
        (one if first == "one" else two).send_signal(how)

        async def taken_over() -> bool:
            return (await trades_by(jetstream_bus))[-1] != first

        await until(taken_over, 60)
        assert time.monotonic() - started_s < 15
        if how is signal.SIGSTOP:
            (one if first == "one" else two).send_signal(signal.SIGCONT)
        stored = len(await trades_by(jetstream_bus))
        await until(lambda: more_than(stored + 300))
        stretches = await between_fences(jetstream_bus)
        assert len(stretches) >= 3
        assert all(len(writers) <= 1 for writers in stretches), "two have written behind the same fence"


async def between_fences(bus: JetStreamBus) -> list[set[str]]:
    """Who wrote between one fence of the market's partition and the next."""
    stretches: list[set[str]] = [set()]
    after, last = 0, (await bus.stream_state(TRADES)).last_seq
    while after < last:
        for message in await read_page(bus.connection, TRADES.name, after, 1_000):
            after = message.seq
            if message.subject == f"fence.trades.{PARTITION}":
                stretches.append(set())
            elif not message.subject.startswith("fence."):
                event = message.event()
                assert isinstance(event, TradesReceived)
                stretches[-1].add(event.source)
    return stretches
