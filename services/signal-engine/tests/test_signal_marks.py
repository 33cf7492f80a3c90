"""Where a life begins to read marks: no new one is missed, and few old ones are read again."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_engine.marks import Position, before_first_new
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK


def market(number: int) -> ClockAdvanced:
    return ClockAdvanced(stage="market", source="live", time_ms=number, trades_seq=number, candles_seq=number)


def answer(number: int) -> ClockAdvanced:
    return msgspec.structs.replace(market(number), stage="signals", signals_seq=0)


async def numbers_after(bus: MemoryBus, position: Position) -> list[int]:
    return [m.event().time_ms for m in await bus.page(CLOCK, "clock.market", after=position.seq)]  # type: ignore[union-attr]


@given(st.integers(1, 600), st.data())
async def test_every_mark_after_the_answered_one_is_read(count: int, data: st.DataObject) -> None:
    answered = data.draw(st.integers(1, count))
    answered_late_by = data.draw(st.integers(0, count - answered))
    bus = MemoryBus()
    for number in range(1, count + 1):
        await bus.publish([market(number)])
        if number == answered + answered_late_by:
            (receipt,) = await bus.publish([answer(answered)])
    position = await before_first_new(bus, answer(answered), receipt.seq)
    read = await numbers_after(bus, position)
    assert set(read) >= set(range(answered + 1, count + 1))
    assert position.seq >= answered - 8 * (answered_late_by + 2)


async def test_the_position_is_that_of_an_answered_mark() -> None:
    bus = MemoryBus()
    for number in (1, 2, 3):
        receipts = await bus.publish([market(number), answer(number)])
    position = await before_first_new(bus, answer(3), receipts[-1].seq)
    message = await bus.last(CLOCK, "clock.market")
    assert message is not None
    assert position == Position(message.seq, message.stored_ms)


@pytest.mark.parametrize("garbage", [b"{}", b'{"type":"clock.v1","stage":"noon"}'])
async def test_what_is_no_mark_does_not_matter(garbage: bytes) -> None:
    bus = MemoryBus()
    await bus.publish([market(1)])
    bus.store_raw(CLOCK, "clock.market", garbage)
    (receipt,) = await bus.publish([answer(1)])
    assert (await before_first_new(bus, answer(1), receipt.seq)).seq <= 2
