"""Slow rounds of a live market are measured and announced, once a burst; fast ones and replays say nothing."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import polars as pl
import pytest
import structlog
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.pace import Pace
from signal_engine.strategies import build
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, RoundsChanged
from tocsin_common.streams import ENGINE, Stream

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]
Play = Callable[..., Awaitable[None]]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]


def last_round(*, waited_ms: int, took_ms: int = 100, at_ms: int = 1_000) -> RoundsChanged:
    return RoundsChanged(
        pace="slow",
        at_ms=at_ms,
        candles_seq=at_ms,
        waited_ms=waited_ms,
        took_ms=took_ms,
        symbols=3,
        candles=9,
        longest="indicators",
        longest_ms=80,
    )


def test_one_burst_is_announced_when_it_begins_and_when_it_is_over() -> None:
    pace = Pace(limit_s=1.0)
    with structlog.testing.capture_logs() as logs:
        said = [pace.after(last_round(waited_ms=wait, at_ms=wait)) for wait in (100, 950, 3_000, 1_500, 700, 300, 200)]
    assert [[(event.pace, event.at_ms) for event in events] for events in said] == [
        [],
        [("slow", 950)],
        [],
        [],
        [],
        [("recovered", 300)],
        [],
    ]
    (over,) = said[5]
    assert (over.waited_ms, over.rounds) == (3_000, 3)
    assert [line["log_level"] for line in logs] == ["warning", "info"]
    assert (logs[0]["waited_ms"], logs[0]["took_ms"], logs[0]["symbols"], logs[0]["longest"]) == (
        950,
        100,
        3,
        "indicators",
    )


def test_a_long_round_is_slow_even_when_nothing_waited() -> None:
    (event,) = Pace(limit_s=1.0).after(last_round(waited_ms=0, took_ms=1_001))
    assert event.took_ms == 1_001


@pytest.fixture(scope="module")
def boundaries(minutes: pl.DataFrame, chop: Chop) -> list[list[CandlesClosed]]:
    messages = list(chop(minutes.group_by("symbol", maintain_order=True).head(600), random.Random(1)))
    return [messages[start : start + 5] for start in range(0, 30, 5)]


async def test_a_live_market_that_had_to_wait_says_so_on_the_stream(
    boundaries: list[list[CandlesClosed]], play: Play, stored: StoredEvents
) -> None:
    bus, registry = MemoryBus(), CollectorRegistry()
    waits = iter((10, 7_000, 8_000, 10, 20, 30))
    engine = Engine([build("ema_cross")], ["1m"])
    await play(bus, engine, boundaries, registry, stored_after_ms=50, waits_ms=waits, slow_round_s=5.0)
    slow, over = await stored(bus, ENGINE)
    assert (slow.pace, slow.waited_ms, slow.rounds) == ("slow", 7_000, 1)
    assert (over.pace, over.waited_ms, over.rounds) == ("recovered", 8_000, 2)
    assert slow.symbols == len({event.symbol for event in boundaries[1]})
    assert slow.candles == sum(len(event.open_ms) for event in boundaries[1])
    assert slow.longest in {"read", "indicators", "higher", "ema_cross", "publish"}
    assert registry.get_sample_value("tocsin_signal_mark_wait_seconds_count") == len(boundaries)
    assert registry.get_sample_value("tocsin_signal_mark_wait_seconds_sum") == pytest.approx(15.07)
    for part in ("read", "indicators", "ema_cross"):
        assert registry.get_sample_value("tocsin_signal_spent_seconds_total", {"part": part}) is not None


async def test_a_replay_waits_for_nobody(
    boundaries: list[list[CandlesClosed]], play: Play, stored: StoredEvents
) -> None:
    bus, registry = MemoryBus(), CollectorRegistry()
    await play(bus, Engine([build("ema_cross")], ["1m"]), boundaries, registry, waits_ms=iter([10**6] * 6))
    assert await stored(bus, ENGINE) == []
    assert registry.get_sample_value("tocsin_signal_mark_wait_seconds_count") == 0
