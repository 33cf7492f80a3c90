"""Marks go their way one at a time while the market goes on."""

from __future__ import annotations

import asyncio

import pytest

from market_ingest.marking import Marking


class Slow:
    """A stream that stores a mark only when it is let."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.let = asyncio.Semaphore(0)
        self.fails = False

    async def store(self, mark: int) -> None:
        await self.let.acquire()
        if self.fails:
            raise OSError("the disk is full")
        self.stored.append(mark)


async def test_nobody_waits_for_a_mark_and_of_those_that_wait_the_newest_goes() -> None:
    stream = Slow()
    marking = Marking(stream.store)
    for mark in range(5):
        marking.note(mark)
        await asyncio.sleep(0)
    assert stream.stored == []
    stream.let.release()
    stream.let.release()
    await marking.finish()
    assert stream.stored == [0, 4]
    marking.note(5)
    stream.let.release()
    await marking.finish()
    assert stream.stored == [0, 4, 5]


async def test_a_mark_that_cannot_be_stored_is_heard_of_with_the_next_one_and_at_the_end() -> None:
    stream = Slow()
    stream.fails = True
    marking = Marking(stream.store)
    marking.note(1)
    stream.let.release()
    with pytest.raises(OSError, match="the disk is full"):
        await marking.finish()
    with pytest.raises(OSError, match="the disk is full"):
        marking.note(2)
