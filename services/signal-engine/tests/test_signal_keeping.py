"""Partitions whose windows were saved at different marks, by different replicas, go on as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.metrics import Metrics
from signal_engine.rounds import Rounds
from signal_engine.strategies import STRATEGIES, build
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Received
from tocsin_common.events import CandlesClosed, ClockAdvanced
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CANDLES, SIGNALS
from tocsin_common.subjects import partition_of

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]


class Market:
    """All of a market on the streams, a mark for every few messages; some messages come late."""

    def __init__(self, messages: Sequence[CandlesClosed], rng: random.Random) -> None:
        self.messages = list(messages)
        for _ in range(len(messages) // 20):
            at = rng.randrange(len(messages) - 30)
            self.messages.insert(at + rng.randrange(1, 30), self.messages.pop(at))
        self.marks: list[ClockAdvanced] = []

    async def publish(self, bus: MemoryBus) -> None:
        newest_ms = 0
        for start in range(0, len(self.messages), 10):
            part = self.messages[start : start + 10]
            receipts = await bus.publish(part)
            newest_ms = max(newest_ms, *(event.open_ms[-1] + 60_000 for event in part))
            seq = receipts[-1].seq
            mark = ClockAdvanced(stage="market", source="live", time_ms=newest_ms, trades_seq=0, candles_seq=seq)
            self.marks.append(mark)
            await bus.publish([mark])

    async def evaluate(self, bus: MemoryBus, partitions: frozenset[int], first: int, last: int) -> None:
        """One life of a replica that has these partitions, over some of the marks."""
        engine = Engine([build(name) for name in STRATEGIES], ["1m"])
        rounds = Rounds(bus, engine, Metrics(CollectorRegistry()), partitions=partitions, writer=str(last))
        await rounds.resume()
        for mark in self.marks[first:last]:
            await rounds.handle([Incoming(mark, Received("CLOCK", "clock.market", 1, 0, "", b""))])
        await rounds.close()

    async def answer(self, bus: MemoryBus, number: int) -> None:
        """The mark that covers what all replicas have done."""
        newest = await bus.last(SIGNALS, SIGNALS.events)
        seq = newest.seq if newest else 0
        await bus.publish([msgspec.structs.replace(self.marks[number - 1], stage="signals", signals_seq=seq)])


async def raised(bus: MemoryBus) -> list[bytes]:
    return sorted(
        m.data for m in await bus.reader(SIGNALS, after=0).through((await bus.stream_state(SIGNALS)).last_seq)
    )


@pytest.mark.parametrize("seed", range(3))
async def test_a_new_owner_of_everything_begins_where_each_partition_was_saved(
    minutes: pl.DataFrame, chop: Chop, seed: int
) -> None:
    rng = random.Random(seed)
    market = Market(list(chop(minutes, rng)), rng)
    one, several = MemoryBus(), MemoryBus()
    for bus in (one, several):
        market.marks.clear()
        await market.publish(bus)
    end = len(market.marks)
    await market.evaluate(one, ALL, 0, end)

    mine = frozenset({partition_of("binance", "ADA/USDT")})
    first, middle, ahead = end // 2, end // 2 + 5, end // 2 + 9
    for partitions in (mine, ALL - mine):
        await market.evaluate(several, partitions, 0, first)
    await market.answer(several, first)
    await market.evaluate(several, mine, first, ahead)
    await market.evaluate(several, ALL - mine, first, middle)
    await market.answer(several, middle)
    several.purge(CANDLES, before=market.marks[first - 1].candles_seq + 1)
    for log in several._logs.values():
        log.ids.clear()  # the duplicate window is over: what is stored must be seen
    await market.evaluate(several, ALL, middle, end)
    assert await raised(several) == await raised(one)
    assert len(await raised(one)) > 100
