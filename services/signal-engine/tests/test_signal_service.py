"""The service as a process of its own, on a real NATS server."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl

from signal_engine.history import signals_of
from signal_engine.indicators import memory_of
from signal_engine.strategies import BY_DEFAULT, build
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Consumer
from tocsin_common.events import CandlesClosed, ClockAdvanced, IndicatorsOffered, StrategyQuarantined, encode
from tocsin_common.streams import ENGINE, INDICATORS, PAPER_TRADER, SIGNALS

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]

PATIENCE_S = 15.0

STUCK = """\
from signal_engine.strategies.ema_cross import EmaCross


class Stuck(EmaCross):
    name = "stuck"

    def judge(self, row, side):
        while row["close"] < 10:  # no price of the rehearsal
            pass
        return super().judge(row, side)
"""


@asynccontextmanager
async def running(nats_url: str, **keys: str) -> AsyncIterator[asyncio.subprocess.Process]:
    section = {f"TOCSIN__SIGNAL_ENGINE__{key}": value for key, value in {"TIMEFRAMES": "[1m]", **keys}.items()}
    settings = {"TOCSIN__NATS__URL": nats_url, **section}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "signal_engine", env={**os.environ, **settings}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def publish_market(bus: JetStreamBus, messages: Sequence[CandlesClosed], *, ended: bool) -> None:
    """A mark after every 20 messages."""
    for start in range(0, len(messages), 20):
        part = messages[start : start + 20]
        receipts = await bus.publish(part)
        last = start + 20 >= len(messages)
        mark = ClockAdvanced(
            stage="market",
            source="replay",
            time_ms=part[-1].open_ms[-1] + 60_000,
            trades_seq=0,
            candles_seq=receipts[-1].seq,
            cursor=receipts[-1].seq,
            ended=ended and last,
        )
        await bus.publish([mark])


async def next_mark(consumer: Consumer) -> ClockAdvanced:
    async with asyncio.timeout(PATIENCE_S):
        while not (messages := await consumer.fetch(1, 2.0)):
            continue
    await consumer.ack(messages)
    event = messages[0].event()
    assert isinstance(event, ClockAdvanced)
    return event


async def test_a_killed_service_resumes_and_every_signal_is_stored_once(
    jetstream_bus: JetStreamBus, nats_url: str, minutes: pl.DataFrame, chop: Chop
) -> None:
    messages = list(chop(minutes, random.Random(1)))
    half = len(messages) // 2
    marks = jetstream_bus.consumer(PAPER_TRADER)
    await publish_market(jetstream_bus, messages[:half], ended=False)
    async with running(nats_url) as first:
        await next_mark(marks)
        first.kill()
        await first.wait()
    await publish_market(jetstream_bus, messages[half:], ended=True)
    async with running(nats_url) as second:
        while not (mark := await next_mark(marks)).ended:
            continue
        second.terminate()
        assert await asyncio.wait_for(second.wait(), PATIENCE_S) == 0
    stored = await jetstream_bus.reader(SIGNALS, after=0).through(mark.signals_seq)
    expected = signals_of([build(name) for name in BY_DEFAULT], minutes)
    assert sorted(message.data for message in stored) == sorted(encode(signal) for signal in expected)
    newest = await jetstream_bus.last(SIGNALS, SIGNALS.events)
    assert newest is not None
    assert newest.seq == mark.signals_seq


async def test_a_strategy_that_loops_for_ever_does_not_stop_the_service(
    jetstream_bus: JetStreamBus, nats_url: str, minutes: pl.DataFrame, chop: Chop, tmp_path: Path
) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    candles = minutes.group_by("symbol", maintain_order=True).head(1_500).select(minutes.columns)
    messages, marks = list(chop(candles, random.Random(1))), jetstream_bus.consumer(PAPER_TRADER)
    settings = {
        "STRATEGIES_FOLDER": str(tmp_path),
        "STRATEGIES": "[{name: stuck}, {name: ema_cross}]",
        "STRATEGY_BUDGET_S": "2",
        "INDICATORS": "[rsi_14]",
    }
    await publish_market(jetstream_bus, messages, ended=True)
    async with running(nats_url, **settings):
        while not (mark := await next_mark(marks)).ended:
            continue
    stored = await jetstream_bus.reader(SIGNALS, after=0).through(mark.signals_seq)
    expected = [encode(signal) for signal in signals_of([build("ema_cross")], candles)]
    assert sorted(data for message in stored if b'"stuck"' not in (data := message.data)) == sorted(expected)
    told = await jetstream_bus.reader(ENGINE, after=0).through((await jetstream_bus.stream_state(ENGINE)).last_seq)
    offers = [event for message in told if isinstance(event := message.event(), IndicatorsOffered)]
    assert [(offer.columns, offer.timeframes) for offer in offers] == [(["rsi_14"], ["1m"])]
    (event,) = [event for message in told if isinstance(event := message.event(), StrategyQuarantined)]
    assert (event.strategy, event.reason) == ("stuck", "too_slow")
    assert "still in judge (stuck.py, line " in event.error
    assert (await jetstream_bus.stream_state(INDICATORS)).messages == 3 * (1_500 - memory_of("rsi_14"))
