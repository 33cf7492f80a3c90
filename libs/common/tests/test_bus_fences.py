"""Fences: a writer whose time is over stores nothing. Every bus passes, and a server that crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.embedded import NatsServer
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus, Fence
from tocsin_common.config import NatsSection
from tocsin_common.errors import Conflict
from tocsin_common.events import Event
from tocsin_common.streams import ALERTING_TRADES, CANDLES, DURABLES, OUTCOMES, SIGNALS, TRADES
from tocsin_common.subjects import FENCE, matches, partition_of

SYMBOL = "BTC/USDT"
PART = partition_of("binance", SYMBOL)


class Writer:
    """Publishes trades of one market behind its fence."""

    def __init__(self, bus: Bus, fence: Fence, given: Any) -> None:
        self._bus, self._fence, self._given = bus, fence, given

    @classmethod
    async def begin(cls, bus: Bus, token: int, given: Any) -> Writer:
        return cls(bus, await bus.raise_fence(TRADES, PART, token), given)

    async def write(self, *numbers: int) -> None:
        await self._bus.publish([self._given.trades(SYMBOL, n) for n in numbers], fence_of=self.fence_of)

    def fence_of(self, event: Event) -> Fence | None:
        return self._fence


async def stored(bus: Bus) -> list[Any]:
    """The times of the trades on the stream."""
    messages = await bus.reader(TRADES, after=0).through((await bus.stream_state(TRADES)).last_seq)
    return [ts_ms for message in messages for ts_ms in message.event().ts_ms]


async def test_behind_a_standing_fence_everything_is_stored(bus: Bus, given: Any) -> None:
    writer = await Writer.begin(bus, 1, given)
    await writer.write(*range(700))
    await writer.write(700)
    assert await stored(bus) == list(range(701))


async def test_a_newer_fence_shuts_the_older_writer_out(bus: Bus, given: Any) -> None:
    old = await Writer.begin(bus, 1, given)
    await old.write(1, 2)
    new = await Writer.begin(bus, 2, given)
    with pytest.raises(Conflict):
        await old.write(3, 4, 5)
    await new.write(6)
    with pytest.raises(Conflict):
        await old.write(7)
    assert await stored(bus) == [1, 2, 6]


async def test_an_older_writer_is_told_even_when_it_repeats_what_is_stored(bus: Bus, given: Any) -> None:
    old = await Writer.begin(bus, 1, given)
    await old.write(1)
    await old.write(1)
    await Writer.begin(bus, 2, given)
    with pytest.raises(Conflict):
        await old.write(1, 2)
    assert await stored(bus) == [1]


async def test_an_older_writer_cannot_raise_its_fence_again_and_a_newer_one_can(bus: Bus, given: Any) -> None:
    await bus.raise_fence(TRADES, PART, 7)
    with pytest.raises(Conflict, match=r"token 7, ours is 6"):
        await bus.raise_fence(TRADES, PART, 6)
    again = Writer(bus, await bus.raise_fence(TRADES, PART, 7), given)
    await again.write(1)
    assert await stored(bus) == [1]


async def test_fences_of_other_parts_and_streams_do_not_matter(bus: Bus, given: Any) -> None:
    writer = await Writer.begin(bus, 1, given)
    await bus.raise_fence(TRADES, PART + 1, 2)
    await bus.raise_fence(CANDLES, PART, 2)
    await writer.write(1)
    assert await stored(bus) == [1]


async def test_several_parts_can_be_published_together(bus: Bus, given: Any) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    fences = {s: await bus.raise_fence(TRADES, partition_of("binance", s), 1) for s in symbols}
    events = [given.trades(symbols[n % 3], n) for n in range(600)]
    await bus.publish(events, fence_of=lambda event: fences[event.symbol])  # type: ignore[attr-defined]
    assert await stored(bus) == list(range(600))
    await bus.raise_fence(TRADES, partition_of("binance", "ETH/USDT"), 2)
    with pytest.raises(Conflict):
        await bus.publish(
            [given.trades(symbols[n % 3], n) for n in range(600, 606)],
            fence_of=lambda event: fences[event.symbol],  # type: ignore[attr-defined]
        )
    assert await stored(bus) == list(range(601))


async def test_two_who_write_different_parts_do_not_hold_each_other_up(bus: Bus, given: Any) -> None:
    async def write(symbol: str, start: int) -> None:
        fence = await bus.raise_fence(TRADES, partition_of("binance", symbol), 1)
        for first in range(start, start + 300, 20):
            await bus.publish([given.trades(symbol, n) for n in range(first, first + 20)], fence_of=lambda _: fence)

    async with asyncio.timeout(5):
        await asyncio.gather(write("BTC/USDT", 0), write("ETH/USDT", 1_000))
    found = await stored(bus)
    assert [n for n in found if n < 1_000] == list(range(300))
    assert [n for n in found if n >= 1_000] == list(range(1_000, 1_300))


@pytest.mark.parametrize("size", [1, 5, 40], ids=["one", "few", "batch"])
async def test_on_a_synced_stream_a_newer_fence_shuts_the_older_writer_out_of_batches_too(
    bus: Bus, given: Any, size: int
) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    parts = {symbol: partition_of("binance", symbol) for symbol in symbols}
    fences = {symbol: await bus.raise_fence(SIGNALS, part, 1) for symbol, part in parts.items()}

    async def write(first: int) -> None:
        events = [given.signal(n, symbol=symbols[n % 3]) for n in range(first, first + size)]
        await bus.publish(events, fence_of=lambda event: fences[event.symbol])  # type: ignore[attr-defined]

    await write(0)
    await write(size)
    await bus.raise_fence(SIGNALS, parts[symbols[2 * size % 3]], 2)
    with pytest.raises(Conflict):
        await write(2 * size)
    messages = await bus.reader(SIGNALS, after=0).through((await bus.stream_state(SIGNALS)).last_seq)
    assert [message.event() for message in messages] == [
        given.signal(n, symbol=symbols[n % 3]) for n in range(2 * size)
    ]


async def test_nobody_is_handed_a_fence(bus: Bus, given: Any) -> None:
    writer = await Writer.begin(bus, 1, given)
    await writer.write(1)
    await Writer.begin(bus, 2, given)
    messages = await bus.consumer(ALERTING_TRADES).fetch(10, 1.0)
    assert [message.event().ts_ms for message in messages] == [[1]]
    for durable in DURABLES:
        assert not durable.stream.fenced or not matches(durable.filter, f"{FENCE}{durable.stream.name.lower()}.1")


async def test_a_stream_without_fences_says_so(bus: Bus) -> None:
    with pytest.raises(ValueError, match="OUTCOMES is not declared with fences"):
        await bus.raise_fence(OUTCOMES, 1, 1)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def test_after_a_crash_of_the_server_the_older_writer_is_still_shut_out(server: NatsServer, given: Any) -> None:
    section = NatsSection(url=server.url)
    first, second = [JetStreamBus(await Connection.open(section, name=name)) for name in ("first", "second")]
    await provision.apply(first.connection, provision.declared())
    old = await Writer.begin(first, 1, given)
    await old.write(*range(100))
    await server.stop()  # in order: the older fence is on the disk, only the newer one may be lost
    await server.start()
    await second.connection.wait_connected(10)
    new = await Writer.begin(second, 2, given)
    await new.write(*range(100, 200))
    await server.kill()
    await server.start()
    await new.write(200)
    with pytest.raises(Conflict):
        await old.write(201)
    assert (await stored(second))[-1] == 200
    assert set(await stored(second)) >= {*range(100, 201)}
    await first.close()
    await second.close()
