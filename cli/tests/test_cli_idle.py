"""A replay is over when the market has ended and everybody has settled everything, and not before."""

from __future__ import annotations

import msgspec
import pytest

from tocsin.idle import IN_ORDER, Patience, look
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import TocsinError
from tocsin_common.events import ClockAdvanced, SendDue

SOURCE = "replay:x"


def mark(stage: str, *, ended: bool, cursor: int = 5) -> ClockAdvanced:
    return ClockAdvanced(stage=stage, source=SOURCE, time_ms=1, trades_seq=0, candles_seq=0, cursor=cursor, ended=ended)


DUE = SendDue(
    delivery_id="d",
    alert_id="a",
    subscriber_id="me",
    channel="webhook",
    title="",
    text="",
    fields={},
    ts_ms=1,
    queued_ms=1,
    deadline_ms=2,
)


async def settle(bus: MemoryBus) -> None:
    for durable in IN_ORDER:
        consumer = bus.consumer(durable)
        while messages := await consumer.fetch(100, 0.0):
            await consumer.ack(messages)


async def test_it_waits_for_the_market_then_the_signals_then_every_consumer(memory_bus: MemoryBus) -> None:
    assert "end of the files" in (await look(memory_bus, SOURCE)).waiting_for
    await memory_bus.publish([mark("market", ended=False)])
    assert "end of the files" in (await look(memory_bus, SOURCE)).waiting_for
    await memory_bus.publish([mark("market", ended=True)])
    await settle(memory_bus)
    assert "signal-engine" in (await look(memory_bus, SOURCE)).waiting_for
    await memory_bus.publish([mark("signals", ended=True), DUE])
    assert (
        await look(memory_bus, SOURCE)
    ).waiting_for == "paper-trader (1 messages), alerting-send-webhook-info (1 messages)"
    await settle(memory_bus)
    assert (await look(memory_bus, SOURCE)).idle


async def test_work_in_hand_counts_as_unsettled(memory_bus: MemoryBus) -> None:
    await memory_bus.publish([mark("market", ended=True), mark("signals", ended=True)])
    await settle(memory_bus)
    await memory_bus.publish([DUE])
    await memory_bus.consumer(next(d for d in IN_ORDER if d.name.endswith("webhook-info"))).fetch(1, 0.0)
    assert "webhook-info (1 messages)" in (await look(memory_bus, SOURCE)).waiting_for


async def test_the_end_of_another_replay_is_not_ours(memory_bus: MemoryBus) -> None:
    other = [msgspec.structs.replace(mark(stage, ended=True), source="replay:y") for stage in ("market", "signals")]
    await memory_bus.publish(other)
    await settle(memory_bus)
    assert not (await look(memory_bus, SOURCE)).idle


async def test_patience_ends_when_nothing_moves(memory_bus: MemoryBus) -> None:
    patience = Patience(stalled_s=0.0)
    patience.check(await look(memory_bus, SOURCE))
    await memory_bus.publish([mark("market", ended=False)])
    patience.check(await look(memory_bus, SOURCE))
    with pytest.raises(TocsinError, match="Nothing has moved for 0 s while waiting for market-ingest"):
        patience.check(await look(memory_bus, SOURCE))


async def test_a_paced_replay_may_be_silent_until_it_has_ended(memory_bus: MemoryBus) -> None:
    patience = Patience(stalled_s=0.0, while_running=False)
    await memory_bus.publish([mark("market", ended=False)])
    patience.check(await look(memory_bus, SOURCE))
    patience.check(await look(memory_bus, SOURCE))
