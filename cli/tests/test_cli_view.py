"""The live view shows what is there, what is wrong, and fits its terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from rich.console import Console

from tocsin.audit.facts import Facts
from tocsin.status import PartStatus, Status, Tail
from tocsin.summary import summarise, table
from tocsin.view import About, draw, line
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import AlertRaised, ClockAdvanced, EquityMarked, Event, OrderFilled, SignalRaised
from tocsin_common.streams import SIGNALS

ABOUT = About(
    source="simulated market",
    api_url="http://127.0.0.1:8000",
    data_dir=".tocsin",
    nats="nats://127.0.0.1:4222",
    postgres="postgresql://127.0.0.1:5432/postgres",
)


def shown(status: Status, width: int = 120, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(draw(ABOUT, status, height), height=height)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.fixture
def status(honest: list[Event]) -> Status:
    """A system in full flow."""
    seen = Status(parts=[PartStatus(name, "ready", 1) for name in ("nats", "market-ingest", "alerting")])
    for event in honest:
        match event:
            case SignalRaised():
                seen.signals.appendleft(event)
            case AlertRaised():
                seen.alerts.appendleft(event)
            case OrderFilled():
                seen.fills.appendleft(event)
            case EquityMarked():
                seen.equity[event.portfolio] = event
            case ClockAdvanced():
                seen.mark = event
    seen.messages = {"TRADES": 12345}
    return seen


def test_everything_that_matters_is_on_one_screen(status: Status) -> None:
    screen = shown(status)
    for expected in (
        "2023-11-14 22:25:00",
        "http://127.0.0.1:8000/api/v1/signals",
        "all services are ready",
        "market-ingest",
        "12,345",
        "ema_cross",
        "BTC/USDT long",
        "target_1",
        "equity 1,000.08",
        "deliveries since the start",
        "outcomes since the start",
    ):
        assert expected in screen
    assert len(screen.rstrip("\n").splitlines()) == 40


def test_a_service_in_trouble_says_why_in_full_width(status: Status) -> None:
    status.parts[2] = PartStatus("alerting", "restarting", None, 3, note="exit code 1; service failed: no luck")
    screen = shown(status)
    assert "alerting: exit code 1; service failed: no luck" in screen
    assert "all services are ready" not in screen


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (200, 70)])
def test_other_sizes_are_drawn_too(status: Status, width: int, height: int) -> None:
    assert "alerting" in shown(status, width, height)


def test_before_anything_happened_it_says_what_it_waits_for() -> None:
    screen = shown(Status(parts=[PartStatus("nats", "ready")]))
    assert "waiting for the first trades" in screen
    assert "No signal yet" in screen


def test_without_a_terminal_one_line_tells_the_same(status: Status) -> None:
    status.parts[2] = PartStatus("alerting", "not ready")
    assert "2023-11-14 22:25:00" in line(status)
    assert "alerting not ready" in line(status)


async def test_a_tail_skips_what_is_too_much_to_show(honest: list[Event], memory_bus: MemoryBus) -> None:
    tail = Tail(memory_bus, SIGNALS)
    assert await tail.news() == []
    await memory_bus.publish(honest)
    assert [type(event) for event in await tail.news()] == [SignalRaised]
    assert await tail.news() == []


async def test_the_summary_counts_what_the_streams_hold(
    honest: list[Event], facts_of: Callable[[Sequence[Event]], Coroutine[Any, Any, Facts]]
) -> None:
    summary = summarise(await facts_of(honest), {"signals": 1}, seconds=2.0)
    assert summary["trades_in"] == summary["trades_published"] == summary["trades_in_candles"] == 10
    assert summary["candles"] == {"1m": 10, "5m": 2}
    assert summary["signals_by_strategy"] == {"ema_cross": 1}
    assert summary["outcomes_by_result"] == {"target_1": 1}
    assert summary["deliveries"] == {"console": {"digested": 1, "sent": 2}}
    assert (summary["fills"], summary["equity"]) == (2, {"demo": "1000.0795"})
    assert (summary["rows"], summary["trades_per_s"]) == ({"signals": 1}, 5.0)
    console = Console(file=io.StringIO(), width=100)
    console.print(table(summary))
    assert "deliveries, console" in console.file.getvalue()  # type: ignore[attr-defined] # it is a StringIO
