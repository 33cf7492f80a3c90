"""Tables of what people set, and of what became of deliveries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from tocsin.console import out
from tocsin.moments import moment
from tocsin_common.events import DocumentKind
from tocsin_common.requests.management import LedgerEntry, Shown

PIPED_COLUMNS = 200
"""Width of a table that nobody's terminal limits: no value is cut."""

LOOKED_AT = (
    "exchange",
    "exchanges",
    "symbol",
    "symbols",
    "timeframe",
    "timeframes",
    "strategies",
    "sides",
    "results",
    "states",
    "portfolios",
    "events",
    "services",
    "left",
    "operator",
    "right",
    "direction",
    "level",
)
"""What says of a rule what it looks at, in this order."""

COLOURS = {"sent": "green", "failed": "red", "expired": "red", "unknown": "yellow", "retrying": "yellow"}


def table_of(kind: DocumentKind, found: Sequence[Shown]) -> Table:
    """A line for each document."""
    match kind:
        case "rule":
            return _rules(found)
        case "subscriber":
            return _subscribers(found)
    return _silences(found)


def show(table: Table) -> None:
    """Print a table as wide as it has to be, or as the terminal is."""
    if not out.is_terminal:
        room = out.options.update(width=PIPED_COLUMNS)
        table.width = Measurement.get(out, room, table).maximum
    out.print(table)


def _rules(found: Sequence[Shown]) -> Table:
    table = _table("id", "name", "kind", "looks at", "tells", "severity", "", revision=True)
    for one in found:
        rule = one.document
        looks = " ".join(filter(None, (_text(rule.get(name)) for name in LOOKED_AT)))
        if confidence := rule.get("min_confidence"):
            looks += f" from {confidence}"
        for name, unit in (("percent", " %"), ("window_s", " s"), ("factor", " x")):
            looks += f" {rule[name]:g}{unit}" if name in rule else ""
        off = "" if rule["enabled"] else "[yellow]off[/]"
        cells = (one.id, rule["name"], rule["kind"], looks.strip() or "everything", ", ".join(rule["subscribers"]))
        table.add_row(*map(escape, cells), rule["severity"], off, str(one.revision))
    return table


def _subscribers(found: Sequence[Shown]) -> Table:
    table = _table("id", "name", "reached by", "quiet hours", "", revision=True)
    now_ms = time.time_ns() // 1_000_000
    for one in found:
        subscriber = one.document
        state = "" if subscriber["enabled"] else "[yellow]off[/]"
        if subscriber["muted_until_ms"] > now_ms:
            state = f"[yellow]muted until {moment(subscriber['muted_until_ms'])}[/]"
        reached = ", ".join(_destination(place) for place in subscriber["destinations"])
        hours = subscriber["quiet_hours"]
        quiet = f"{hours['start']}-{hours['end']} {hours['zone']}" if hours else ""
        cells = (one.id, subscriber["name"], reached or "nothing", quiet)
        table.add_row(*map(escape, cells), state, str(one.revision))
    return table


def _destination(place: dict[str, Any]) -> str:
    text = f"{place['channel']} {place['hint']}"
    if not place["verified"]:
        return f"{text} (not confirmed)"
    return text if place["enabled"] else f"{text} (unsubscribed)"


def _silences(found: Sequence[Shown]) -> Table:
    table = _table("id", "from (UTC)", "until (UTC)", "silences", "author", "comment", revision=True)
    for one in found:
        silence = one.document
        names = ("rules", "subscribers", "exchanges", "symbols", "strategies", "severities")
        what = " ".join(filter(None, (_text(silence[name]) for name in names)))
        cells = (
            one.id,
            moment(silence["starts_ms"]),
            moment(silence["ends_ms"]),
            what or "everything",
            silence["author"],
            silence["comment"],
        )
        table.add_row(*map(escape, cells), str(one.revision))
    return table


def log_table(entries: Sequence[LedgerEntry]) -> Table:
    """What happened to deliveries, a line for each step."""
    table = _table("at (UTC)", "subscriber", "channel", "state", "attempt", "reason", "delivery", "alert")
    for entry in entries:
        change = entry.change
        colour = COLOURS.get(change.state)
        state = f"[{colour}]{change.state}[/]" if colour else change.state
        at = f"{moment(change.at_ms)}:{change.at_ms // 1000 % 60:02d}"
        who, reason = escape(change.subscriber_id), escape(change.reason)
        table.add_row(at, who, change.channel, state, str(change.attempt), reason, change.delivery_id, change.alert_id)
    return table


def _table(*columns: str, revision: bool = False) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    if revision:
        table.add_column("revision", justify="right")
    return table


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
