"""A snapshot shortens a restart, and is never believed when it does not fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.history import signals_of
from signal_engine.metrics import Metrics
from signal_engine.rounds import Rounds
from signal_engine.snapshots import PART_ROWS, Snapshots
from signal_engine.strategies import BY_DEFAULT, build
from signal_engine.window import Candles, Series
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.memory_bucket import MemoryKeyValue
from tocsin_common.bus.protocol import Received
from tocsin_common.errors import Unreachable
from tocsin_common.events import CandlesClosed, ClockAdvanced, encode
from tocsin_common.streams import CANDLES, SIGNALS

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]

WINDOWS = [
    (Series("okx", f"COIN{n}/USDT", "1m"), Candles(np.arange(n + 1) * 60_000, np.full((5, n + 1), float(n))))
    for n in (1, PART_ROWS // 2, PART_ROWS // 2, 3, 4, PART_ROWS + 1, 5)
]


class Failing(MemoryKeyValue):
    """Refuses to write after a number of writes."""

    writes_left = 1_000

    async def put(self, key: str, value: bytes) -> int:
        if self.writes_left == 0:
            raise Unreachable("the server is away")
        self.writes_left -= 1
        return await super().put(key, value)


def snapshots(
    bucket: MemoryKeyValue,
    *,
    identity: str = "one",
    timeframes: tuple[str, ...] = ("1m",),
    warm_up_candles: int = 384,
    writer: str = "a",
) -> Snapshots:
    return Snapshots(bucket, identity=identity, timeframes=timeframes, warm_up_candles=warm_up_candles, writer=writer)


async def test_what_was_saved_is_loaded() -> None:
    bucket = MemoryKeyValue()
    await snapshots(bucket).save(7, WINDOWS, candles_seq=42)
    loaded = await snapshots(bucket).load(7, at_most=42)
    assert loaded is not None
    assert loaded[0] == 42
    assert [series for series, _ in loaded[1]] == [series for series, _ in WINDOWS]
    for (_, found), (_, saved) in zip(loaded[1], WINDOWS, strict=True):
        assert np.array_equal(found.opens, saved.opens)
        assert np.array_equal(found.values, saved.values)


async def test_a_snapshot_that_was_interrupted_leaves_the_one_before_whole() -> None:
    bucket = Failing()
    keeper = snapshots(bucket)
    await keeper.save(7, WINDOWS, candles_seq=1)
    for writes in range(3):
        bucket.writes_left = writes
        with pytest.raises(Unreachable):
            await keeper.save(7, WINDOWS[:-1], candles_seq=2)
        loaded = await snapshots(bucket).load(7, at_most=9)
        assert loaded is not None
        assert (loaded[0], len(loaded[1])) == (1, len(WINDOWS))


async def test_partitions_are_kept_apart() -> None:
    bucket = MemoryKeyValue()
    await snapshots(bucket).save(1, WINDOWS[:2], candles_seq=5)
    await snapshots(bucket).save(2, WINDOWS[2:], candles_seq=9)
    first, second = [await snapshots(bucket).load(number, at_most=9) for number in (1, 2)]
    assert first is not None
    assert second is not None
    assert (first[0], len(first[1])) == (5, 2)
    assert (second[0], len(second[1])) == (9, len(WINDOWS) - 2)


async def test_who_must_begin_before_the_newest_snapshot_has_the_one_before() -> None:
    bucket = MemoryKeyValue()
    for candles_seq in (10, 20, 30):
        await snapshots(bucket).save(7, WINDOWS, candles_seq=candles_seq)
    found = [await snapshots(bucket).load(7, at_most=at_most) for at_most in (19, 29, 30)]
    assert [one[0] if one else None for one in found] == [None, 20, 30]


async def test_what_two_writers_wrote_into_one_slot_is_not_believed() -> None:
    bucket, other = Failing(), Failing()
    await snapshots(bucket).save(7, WINDOWS, candles_seq=1)
    await snapshots(bucket).save(7, WINDOWS, candles_seq=2)
    bucket.writes_left = 1
    with pytest.raises(Unreachable):
        await snapshots(bucket, writer="b").save(7, WINDOWS, candles_seq=2)
    bucket.writes_left, other = 1_000, bucket
    loaded = await snapshots(other).load(7, at_most=9)
    assert loaded is not None
    assert loaded[0] == 2
    assert await snapshots(other).load(7, at_most=1) is None


async def test_a_snapshot_that_does_not_fit_is_ignored() -> None:
    bucket = MemoryKeyValue()
    await snapshots(bucket).save(7, WINDOWS, candles_seq=42)
    assert await snapshots(bucket).load(7, at_most=41) is None
    assert await snapshots(bucket, identity="another stream").load(7, at_most=99) is None
    assert await snapshots(bucket, timeframes=("1m", "5m")).load(7, at_most=99) is None
    assert await snapshots(bucket, warm_up_candles=385).load(7, at_most=99) is None
    assert await snapshots(bucket, warm_up_candles=256).load(7, at_most=99) is not None
    assert await snapshots(MemoryKeyValue()).load(7, at_most=99) is None
    for key in await bucket.all():
        await bucket.put(key, b"garbage")
    assert await snapshots(bucket).load(7, at_most=99) is None


async def test_a_restart_goes_on_from_the_snapshot_without_the_candles_before_it(
    minutes: pl.DataFrame, chop: Chop
) -> None:
    bus, messages = MemoryBus(), list(chop(minutes, random.Random(3)))
    half = len(messages) // 2
    for part in (messages[:half], messages[half:]):
        engine = Engine([build(name) for name in BY_DEFAULT], ["1m"])
        rounds = Rounds(bus, engine, Metrics(CollectorRegistry()), snapshot_messages=10)
        await rounds.resume()
        for message in part:
            (receipt,) = await bus.publish([message])
            mark = ClockAdvanced(
                stage="market", source="replay", time_ms=receipt.seq, trades_seq=0, candles_seq=receipt.seq
            )
            received = Received("CLOCK", "clock.market", receipt.seq, 0, "", b"")
            await bus.publish(await rounds.handle([Incoming(mark, received)]))
        await rounds.close()
        bus.purge(CANDLES, before=half + 1)
    stored = await bus.reader(SIGNALS, after=0).through((await bus.stream_state(SIGNALS)).last_seq)
    expected = signals_of([build(name) for name in BY_DEFAULT], minutes)
    assert sorted(message.data for message in stored) == sorted(encode(signal) for signal in expected)
