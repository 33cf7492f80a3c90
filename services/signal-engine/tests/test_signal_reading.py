"""Candles that are asked for ahead: each once and in order, whatever fails, and whoever asks again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from signal_engine.reading import ReadAhead
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Reader, Received
from tocsin_common.errors import Unreachable
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK


class Shaky:
    """A reader that fails once where it is told to, and remembers what it was asked for."""

    def __init__(self, reader: Reader) -> None:
        self.fails_at = 0
        self.asked: list[int] = []
        self._reader = reader

    async def through(self, seq: int) -> list[Received]:
        self.asked.append(seq)
        if seq == self.fails_at:
            self.fails_at = 0
            raise Unreachable("the server is away")
        return await self._reader.through(seq)

    async def close(self) -> None:
        await self._reader.close()


@pytest.fixture
async def shaky(memory_bus: MemoryBus) -> Shaky:
    marks = [
        ClockAdvanced(stage="market", source="test", time_ms=n, trades_seq=0, candles_seq=n, cursor=n)
        for n in range(1, 10)
    ]
    await memory_bus.publish(marks)
    return Shaky(memory_bus.reader(CLOCK, after=0))


def seqs(messages: Sequence[Received]) -> list[int]:
    return [message.seq for message in messages]


async def test_what_follows_is_asked_for_before_it_is_wanted(shaky: Shaky) -> None:
    reader = ReadAhead(shaky)
    assert seqs(await reader.through(3, 6)) == [1, 2, 3]
    assert shaky.asked == [3, 6]
    assert seqs(await reader.through(6, 6)) == [4, 5, 6]
    assert seqs(await reader.through(9)) == [7, 8, 9]
    assert shaky.asked == [3, 6, 9]


async def test_who_wants_more_than_was_asked_for_gets_all_of_it(shaky: Shaky) -> None:
    reader = ReadAhead(shaky)
    await reader.through(3, 6)
    assert seqs(await reader.through(9)) == [4, 5, 6, 7, 8, 9]


async def test_who_begins_again_misses_nothing_of_what_is_on_its_way(shaky: Shaky) -> None:
    reader = ReadAhead(shaky)
    await reader.through(3, 6)
    assert seqs(await reader.through(3, 6)) == []
    assert seqs(await reader.through(6)) == [4, 5, 6]


async def test_what_failed_on_its_way_is_read_when_it_is_asked_for_again(shaky: Shaky) -> None:
    reader = ReadAhead(shaky)
    shaky.fails_at = 3
    with pytest.raises(Unreachable):
        await reader.through(3, 6)
    shaky.fails_at = 6
    assert seqs(await reader.through(3, 6)) == [1, 2, 3]
    with pytest.raises(Unreachable):
        await reader.through(6, 9)
    assert seqs(await reader.through(6, 9)) == [4, 5, 6]
    await reader.close()
