"""Invariants between the streams and the database: every row follows from the events, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tocsin.audit.candles import FIELDS
from tocsin.audit.facts import Facts
from tocsin.audit.rows import Row, Rows
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    AnyEvent,
    DeliveryChanged,
    EquityMarked,
    Event,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    SignalRaised,
    SignalSkipped,
)


@dataclass(frozen=True)
class Evidence:
    """Both sides: what the streams say, and what the database says."""

    facts: Facts
    rows: Rows


def every_signal_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every signal is in exactly one row of `signals`, with the same content."""
    yield from _compare(evidence, "signals", ("signal_id",), _of_type(evidence, "SIGNALS", SignalRaised))


def every_outcome_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every outcome is in exactly one row of `outcomes`, with the same content."""
    yield from _compare(evidence, "outcomes", ("signal_id",), _of_type(evidence, "OUTCOMES", OutcomeMeasured))


def every_alert_decision_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every alert raised or suppressed is in exactly one row of `alerts`, with the same content."""
    decisions: tuple[tuple[type[Event], str], ...] = ((AlertRaised, "raised"), (AlertSuppressed, "suppressed"))
    expected = [
        {**_content(event), "event_id": event.event_id, "decision": decision}
        for kind, decision in decisions
        for event in _events(evidence, "ALERTS", kind)
    ]
    yield from _compare(evidence, "alerts", ("event_id",), expected)


def every_delivery_row_is_its_last_step(evidence: Evidence) -> Iterator[str]:
    """Every delivery is in exactly one row of `deliveries`, in the state of its last step."""
    steps = list(_of_type(evidence, "DELIVERIES", DeliveryChanged))
    queued = {step["delivery_id"]: step["at_ms"] for step in reversed(steps)}
    last = {step["delivery_id"]: {**step, "queued_ms": queued[step["delivery_id"]]} for step in steps}
    yield from _compare(evidence, "deliveries", ("delivery_id",), last.values())


def every_delivery_step_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every step of every delivery is in exactly one row of `delivery_events`."""
    key = ("delivery_id", "state", "attempt")
    yield from _compare(evidence, "delivery_events", key, _of_type(evidence, "DELIVERIES", DeliveryChanged))


def every_paper_event_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every fill, skip and equity mark is in exactly one row of its table, with the same content."""
    for table, kind in (("fills", OrderFilled), ("skips", SignalSkipped), ("equity", EquityMarked)):
        key = ("portfolio", "n")
        for finding in _compare(evidence, table, key, _of_type(evidence, "PAPER", kind)):
            yield f"{table}: {finding}"


def every_portfolio_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every opened portfolio is in exactly one row of `portfolios`, with its currency and opening cash."""
    expected = [
        {"portfolio": event.portfolio, "currency": event.currency, "initial_cash": event.cash, "opened_ms": event.ts_ms}
        for event in _events(evidence, "PAPER", PortfolioOpened)
    ]
    yield from _compare(evidence, "portfolios", ("portfolio",), expected)


def every_position_row_follows_from_its_fills(evidence: Evidence) -> Iterator[str]:
    """Every position is in exactly one row of `positions`, with the amount and the number of its fills."""
    positions: dict[tuple[str, str], Row] = {}
    for fill in _events(evidence, "PAPER", OrderFilled):
        key = (fill.portfolio, fill.position_id)
        row = positions.setdefault(key, {"portfolio": fill.portfolio, "position_id": fill.position_id, "fills": 0})
        row |= {"amount": fill.position_amount, "fills": row["fills"] + 1, "symbol": fill.symbol}
        row["state"] = "open" if fill.position_amount else "closed"
    yield from _compare(evidence, "positions", ("portfolio", "position_id"), positions.values())


def every_candle_is_one_row(evidence: Evidence) -> Iterator[str]:
    """Every candle's newest revision is in exactly one row of `candles`, value for value."""
    offset = evidence.rows.offsets.get("CANDLES", 0)
    stored = {_key(name): frame for name, frame in _by_series(evidence.rows.candles)}
    for key, all_candles in evidence.facts.candles.by_key.items():
        candles = all_candles.where(all_candles.seq <= offset).newest()
        frame = stored.pop(key, evidence.rows.candles.clear())
        name = " ".join(key)
        if len(frame) != len(candles.open_ms):
            yield f"{name}: {len(frame)} rows, {len(candles.open_ms)} candles on the stream"
            continue
        same = frame["open_ms"].to_numpy() == candles.open_ms
        same &= (frame.select(FIELDS).to_numpy() == candles.values).all(axis=1)
        same &= frame["trades"].to_numpy() == candles.trades
        for position in np.flatnonzero(~same):
            yield f"{name} {candles.open_ms[position]}: the row differs from the stream"
    for key, frame in stored.items():
        yield f"{' '.join(key)}: {len(frame)} rows that are not on the stream"


def _by_series(frame: pl.DataFrame) -> Iterable[tuple[tuple[Any, ...], pl.DataFrame]]:
    return frame.partition_by("exchange", "symbol", "timeframe", as_dict=True).items()


def _key(name: tuple[Any, ...]) -> tuple[str, str, str]:
    exchange, symbol, timeframe = name
    return str(exchange), str(symbol), str(timeframe)


def _compare(evidence: Evidence, table: str, key: tuple[str, ...], expected: Iterable[Row]) -> Iterator[str]:
    """Compare rows by key; of expected rows, the fields that are columns of the table count."""
    rows = evidence.rows.tables.get(table, [])
    of = _keyer(key)
    found = {of(row): row for row in rows}
    wanted = {of(row): row for row in expected}
    for name, count in Counter(map(of, rows)).items():
        if count > 1:
            yield f"{_named(name)}: {count} rows"
    for name, row in wanted.items():
        if name not in found:
            yield f"{_named(name)}: no row"
        elif different := _different(row, found[name]):
            yield f"{_named(name)}: {', '.join(different)} differ from the stream"
    for name in found.keys() - wanted.keys():
        yield f"{_named(name)}: a row without an event"


def _different(expected: Row, found: Mapping[str, Any]) -> list[str]:
    return [column for column, value in expected.items() if column in found and found[column] != value]


def _keyer(key: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Hashable]:
    return lambda row: tuple(row[column] for column in key)


def _named(key: Hashable) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _events(evidence: Evidence, stream: str, kind: type[Event]) -> Iterator[Any]:
    """The events of one type that the projection should hold: those through its offset."""
    offset = evidence.rows.offsets.get(stream, 0)
    for seq, event in evidence.facts.log.get(stream, ()):
        if seq <= offset and isinstance(event, kind):
            yield event


def _of_type(evidence: Evidence, stream: str, kind: type[Event]) -> Iterator[Row]:
    return (_content(event) for event in _events(evidence, stream, kind))


def _content(event: AnyEvent) -> Row:
    """An event's fields as they are in its row."""
    row = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, SignalRaised):
        row |= {"signal_id": event.signal_id, "risk": msgspec.to_builtins(event.risk)}
    if isinstance(event, EquityMarked):
        del row["holdings"]  # JSON in the row, Decimal in the event; its sum is checked on the stream
    return row
