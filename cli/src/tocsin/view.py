"""The live terminal view of `tocsin up`: a pure function from a `Status` to what rich draws."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tocsin.status import FLOW, PartStatus, Status, lag_of
from tocsin_common.events import EquityMarked, OrderFilled, SignalRaised
from tocsin_common.streams import DURABLES

STATE_STYLE = {"ready": "green", "starting": "yellow", "not ready": "yellow", "restarting": "red", "failed": "bold red"}
LAG_WORRYING = 1_000
"""Messages behind, from which the view colours a lag."""

HEADER_HEIGHT, HEIGHT_MIN = 5, 6
PORTFOLIOS_SHOWN = 2
MIB = 1024 * 1024


@dataclass(frozen=True)
class About:
    """What stays the same while the system runs: shown in the header."""

    source: str
    api_url: str
    data_dir: str
    nats: str
    postgres: str


def draw(about: About, status: Status, height: int) -> RenderableType:
    """The whole screen for a terminal of `height` lines."""
    system_height = len(FLOW) + 3
    free = max(2 * HEIGHT_MIN, height - HEADER_HEIGHT - system_height)
    upper, lower = free - free // 2, free // 2
    screen = Layout()
    screen.split_column(
        Layout(_header(about, status), size=HEADER_HEIGHT),
        Layout(name="system", size=system_height),
        Layout(_panel("Latest signals", _signals(list(status.signals)[: upper - 3])), size=upper),
        Layout(name="effects", size=lower),
    )
    screen["system"].split_row(
        Layout(_panel("Services", _parts(status.parts)), ratio=3), Layout(_panel("Flow", _flow(status)), ratio=2)
    )
    screen["effects"].split_row(
        Layout(_panel("Alerts", _alerts(status, lower - 4))), Layout(_panel("Paper trading", _paper(status, lower - 4)))
    )
    return screen


def line(status: Status) -> str:
    """One log line for output that is not a terminal."""
    mark = _clock(status.mark.time_ms) if status.mark else "no market time yet"
    counts = " ".join(f"{name.lower()}={status.messages.get(name, 0)}" for name in ("SIGNALS", "ALERTS", "DELIVERIES"))
    ill = ", ".join(f"{part.name} {part.state}" for part in status.parts if not part.well) or "all ready"
    lag = max(status.lags.values(), default=0)
    return f"{mark}  {status.trades_per_s:,.0f} trades/s  {counts}  lag={lag}  {ill}" + (
        f"  ({status.problem})" if status.problem else ""
    )


def _header(about: About, status: Status) -> RenderableType:
    mark = _clock(status.mark.time_ms) if status.mark else "waiting for the first trades"
    speed = f" at {status.market_speed:,.0f}x" if status.market_speed > 1.5 else ""
    uptime = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - status.started))
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_row(Text.assemble("Market time ", (mark, "bold"), speed), f"{about.source}, up {uptime}")
    grid.add_row(
        Text.assemble("API ", (f"{about.api_url}/api/v1/signals", "bold cyan")),
        Text(f"data in {about.data_dir}", "dim"),
    )
    servers = Text(f"   {about.nats}  {about.postgres}", "dim")
    state = _state(status)
    last = Text.assemble(state, servers) if status.ready else state
    last.no_wrap, last.overflow = True, "ellipsis"
    return Panel(
        Group(grid, last), title="[bold]tocsin[/]", title_align="left", subtitle="Ctrl-C stops", subtitle_align="right"
    )


def _parts(parts: Sequence[PartStatus]) -> RenderableType:
    table = _table("", "service", "~state", ">cpu", ">memory", ">restarts")
    for part in parts:
        style = STATE_STYLE.get(part.state, "red")
        table.add_row(
            Text("●", style),
            part.name,
            Text(part.state, style),
            f"{part.cpu_percent:.0f}%",
            f"{part.memory_bytes / MIB:,.0f} MB",
            str(part.restarts or "-"),
        )
    return table


def _state(status: Status) -> Text:
    """The most important thing that is wrong, or that nothing is."""
    ill = [part for part in status.parts if part.note]
    if status.problem:
        return Text(status.problem, "bold red")
    if ill:
        return Text(f"{ill[0].name}: {ill[0].note}", "bold red")
    return Text("all services are ready", "bold green") if status.ready else Text("starting", "bold yellow")


def _flow(status: Status) -> Table:
    table = _table("~stream", ">messages", ">per s", ">lag")
    for stream in FLOW:
        lag = lag_of(status, [durable.name for durable in DURABLES if durable.stream is stream])
        table.add_row(
            Text(stream.name.lower(), "red" if stream.name == "DEAD" and status.messages.get("DEAD") else ""),
            f"{status.messages.get(stream.name, 0):,}",
            f"{status.rates.get(stream.name, 0):,.1f}",
            Text(f"{lag:,}", "yellow" if lag > LAG_WORRYING else ""),
        )
    return table


def _signals(signals: Sequence[SignalRaised]) -> RenderableType:
    if not signals:
        return Text("No signal yet: strategies warm up on their first candles.", "dim")
    table = _table("confirmed", "symbol", "tf", "strategy", "side", ">conf", ">entry", ">stop", ">target", "~why")
    for signal in signals:
        table.add_row(
            _clock(signal.confirmed_ms)[5:16],
            signal.symbol,
            signal.timeframe,
            signal.strategy,
            Text(signal.side, "green" if signal.side == "long" else "red"),
            str(signal.confidence),
            _price(signal.entry),
            _price(signal.stop),
            _price(signal.targets[-1]) if signal.targets else "-",
            Text("; ".join(signal.reasons), "dim", overflow="ellipsis", no_wrap=True),
        )
    return table


def _alerts(status: Status, rows: int) -> RenderableType:
    counts = "  ".join(f"{state} {count:,}" for state, count in sorted(status.deliveries.items()))
    table = _table("time", "~alert")
    for alert in list(status.alerts)[:rows]:
        table.add_row(_clock(alert.ts_ms)[11:], Text(alert.title, overflow="ellipsis", no_wrap=True))
    return Group(table, Text(f"deliveries since the start: {counts or 'none yet'}", "dim"))


def _paper(status: Status, rows: int) -> RenderableType:
    table = _table("time", "side", ">amount", "symbol", ">price", "~reason", ">pnl")
    portfolios = [_equity(mark) for mark in status.equity.values()][:PORTFOLIOS_SHOWN]
    for fill in list(status.fills)[: rows - len(portfolios)]:
        table.add_row(*_fill(fill))
    results = "  ".join(f"{name} {count:,}" for name, count in sorted(status.results.items()))
    return Group(table, *portfolios, Text(f"outcomes since the start: {results or 'none yet'}", "dim"))


def _fill(fill: OrderFilled) -> tuple[RenderableType, ...]:
    pnl = fill.realised_pnl
    return (
        _clock(fill.ts_ms)[11:],
        Text(fill.side, "green" if fill.side == "buy" else "red"),
        f"{fill.amount:.5g}",
        fill.symbol,
        _price(float(fill.price)),
        Text(fill.reason, overflow="ellipsis", no_wrap=True),
        Text(f"{pnl:+,.2f}", "green" if pnl > 0 else "red") if pnl else Text("-"),
    )


def _equity(mark: EquityMarked) -> Text:
    return Text.assemble(
        f"{mark.portfolio}: equity ",
        (f"{mark.equity:,.2f}", "bold"),
        f"  cash {mark.cash:,.2f}  {len(mark.holdings)} open",
    )


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=f"[bold]{escape(title)}[/]", title_align="left", border_style="bright_black")


def _table(*columns: str) -> Table:
    """A table without lines: a column named `>x` is right-aligned, `~x` takes the room that is left."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column.lstrip(">~"),
            justify="right" if column.startswith(">") else "left",
            ratio=1 if column.startswith("~") else None,
            no_wrap=not column.startswith("~"),
        )
    return table


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _price(value: float) -> str:
    """Six significant digits, never an exponent."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, 5 - magnitude)}f}"
